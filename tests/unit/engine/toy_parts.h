/* What of the toy engine's parts is open now: all 0 when nothing leaks. */
#ifndef FG_TEST_TOY_PARTS_H
#define FG_TEST_TOY_PARTS_H

struct toy_parts {
    int devices, files, vocabs, templates;
};
extern struct toy_parts toy_parts;

#endif
