/*
 * engine/sample/rng.h - the sampler's random numbers: xoshiro256** seeded through splitmix64.
 * Integer arithmetic only, so a seed gives the same stream on every machine.
 */
#ifndef FG_ENGINE_RNG_H
#define FG_ENGINE_RNG_H

#include <stdint.h>

struct fg_rng {
    uint64_t s[4];
};

static inline uint64_t fg_splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* stream separates the answers of one request that share a seed. */
static inline void fg_rng_seed(struct fg_rng *r, uint64_t seed, uint32_t stream)
{
    uint64_t state = seed;
    uint64_t lane = fg_splitmix(&state) ^ ((uint64_t)stream << 32 | stream);
    for (int i = 0; i < 4; i++)
        r->s[i] = fg_splitmix(&lane);
}

static inline uint64_t fg_rng_rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

static inline uint64_t fg_rng_next(struct fg_rng *r)
{
    uint64_t *s = r->s;
    const uint64_t result = fg_rng_rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = fg_rng_rotl(s[3], 45);
    return result;
}

static inline double fg_rng_unit(struct fg_rng *r) /* [0, 1) */
{
    return (double)(fg_rng_next(r) >> 11) * 0x1p-53;
}

#endif
