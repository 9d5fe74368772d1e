/*
 * engine/job.h - what this engine can be asked, checked before a job exists. [worker], pure.
 */
#ifndef FG_ENGINE_JOB_H
#define FG_ENGINE_JOB_H

#include <fluxgate/plugin.h>

/* FG_UNSUPPORTED names what this engine cannot do, FG_INVALID what makes no sense. */
int32_t fg_engine_check_request(const struct fg_request *, struct fg_error *);

#endif
