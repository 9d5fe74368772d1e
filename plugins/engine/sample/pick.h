/*
 * engine/sample/pick.h - the passes over a whole vocabulary that sampling needs: largest value,
 * best k, sum of exponentials. Pure functions, any thread.
 *
 * A vocabulary has up to 262144 entries and every token of every stream passes here, so each is
 * one straight pass over memory; nothing sorts more than what it keeps.
 */
#ifndef FG_ENGINE_PICK_H
#define FG_ENGINE_PICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fg_cand { /* a token that may still be drawn */
    int32_t id;
    float logit;
    float p; /* of the softmax over the candidates, when that was computed */
};

/* exp of x <= 0 with about 1e-7 relative error, the same on every machine; 0 below -87. */
float fg_pick_exp(float x);

/* Largest value (NaN is skipped; -INFINITY when there is none). finite: no NaN or +inf, and no
 * -inf either. */
float fg_pick_max(const float *x, size_t n, bool *finite);
/* Index of the first value that is max, the largest; n > 0. */
size_t fg_pick_first(const float *x, size_t n, float max);
/* Index of the first largest value; n > 0. */
size_t fg_pick_argmax(const float *x, size_t n);
/* Sum of exp(x[i] - max). */
double fg_pick_sum_exp(const float *x, size_t n, float max);
/* The k largest, best first, equal ones by smaller index; values of -INFINITY are left out.
 * out has room for k. Returns how many there are. */
size_t fg_pick_top(const float *x, size_t n, size_t k, struct fg_cand *out);

/* Those above bound (-INFINITY: all that are not forbidden), by rising index; room for n in out. */
size_t fg_pick_above(const float *x, size_t n, float bound, struct fg_cand *out);
/* One of all: index i with a weight of exp((x[i] - max) * scale), unit in [0, 1) deciding. */
size_t fg_pick_roll(const float *x, size_t n, float max, float scale, double unit);

/* Sets p of every candidate; returns nothing to fail. count > 0. */
void fg_pick_softmax(struct fg_cand *c, size_t count);
/* Keeps the smallest set of candidates, taken by falling rank (rank[i] goes with c[i], small is
 * good, >= 0), whose p add up to mass; at least one. They come back in that order. rank is
 * scratch. Returns how many were kept. */
size_t fg_pick_mass(struct fg_cand *c, float *rank, size_t count, double mass);

#endif
