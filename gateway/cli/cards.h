/* cli/cards.h - `fluxgate cards`: the table of cards; asks no server. */
#ifndef FG_CLI_CARDS_H
#define FG_CLI_CARDS_H

int fg_cli_cards(int argc, char **argv);

#endif
