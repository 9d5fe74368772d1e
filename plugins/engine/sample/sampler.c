/*
 * The sampler chain. A draw is: log-probabilities of the raw logits when they were asked for,
 * then bias and penalties in place (a handful of entries), then the smallest set of candidates
 * the filters allow, then one random number. With top-k set, everything after the first pass over
 * the vocabulary works on k candidates.
 */
#include "engine/sample/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/sample/history.h"
#include "engine/sample/pick.h"
#include "engine/sample/rng.h"
#include "util/clock.h"
#include "util/error.h"

enum { TOP_MOST = 128, WINDOW_MOST = 1 << 20 };
#define TEMPERATURE_LEAST 1e-5f /* below it nothing but the best has a chance */
#define BIAS_MOST         1e6f  /* larger ones decide as surely, and sums stay finite */

struct fg_sampler {
    float temperature, top_p, min_p, typical_p;
    float repeat_penalty, frequency_penalty, presence_penalty;
    int32_t top_k;
    uint64_t seed;
    struct fg_rng rng;
    struct fg_history history; /* limit 0 when no penalty is on */
    uint32_t vocab;
    struct fg_bias *bias;
    size_t bias_count;
    int32_t *forbidden;
    size_t forbidden_count;
    struct fg_cand *cand; /* scratch, grown to what the chain needs */
    float *rank;
    size_t cand_room;
    struct fg_cand top_scratch[TOP_MOST];
    struct fg_logprob top[TOP_MOST];
};

static uint64_t random_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        seed = fg_clock_ns() ^ fg_clock_wall_ns();
    return seed;
}

/* The client's value of a field where it gave one, else the model's. */
#define CHOOSE(flag, field) (asked && (asked->set & (flag)) ? asked->field : defaults->field)

static int32_t check(const struct fg_sampler *s, struct fg_error *err)
{
    if (!(s->temperature >= 0) || !isfinite(s->temperature))
        return fg_fail(err, FG_INVALID, "temperature must be 0 or more");
    if (!(s->top_p >= 0 && s->top_p <= 1))
        return fg_fail(err, FG_INVALID, "top_p must be from 0 to 1");
    if (!(s->min_p >= 0 && s->min_p <= 1))
        return fg_fail(err, FG_INVALID, "min_p must be from 0 to 1");
    if (!(s->typical_p >= 0 && s->typical_p <= 1))
        return fg_fail(err, FG_INVALID, "typical_p must be from 0 to 1");
    if (!(s->repeat_penalty > 0) || !isfinite(s->repeat_penalty))
        return fg_fail(err, FG_INVALID, "repeat_penalty must be above 0");
    if (!isfinite(s->frequency_penalty) || !isfinite(s->presence_penalty))
        return fg_fail(err, FG_INVALID, "penalties must be finite");
    return FG_OK;
}

static int32_t copy_bias(struct fg_sampler *s, const struct fg_sampling *asked,
                         struct fg_error *err)
{
    if (!asked || !FG_HAS(struct fg_sampling, asked, bias_count) || asked->bias_count == 0)
        return FG_OK;
    s->bias = calloc(asked->bias_count, sizeof *s->bias);
    if (!s->bias)
        return fg_fail(err, FG_NO_MEMORY, "no memory for %u logit biases", asked->bias_count);
    for (uint32_t i = 0; i < asked->bias_count; i++) {
        const struct fg_bias b = asked->bias[i];
        if (b.token < 0 || (uint32_t)b.token >= s->vocab || isnan(b.bias))
            continue;
        const float value = fmaxf(-BIAS_MOST, fminf(BIAS_MOST, b.bias));
        s->bias[s->bias_count++] = (struct fg_bias){b.token, value};
    }
    return FG_OK;
}

int32_t fg_sampler_open(const struct fg_sampling *defaults, const struct fg_sampling *asked,
                        uint32_t vocab_size, struct fg_sampler **out, struct fg_error *err)
{
    struct fg_sampler *s = calloc(1, sizeof *s);
    if (!s)
        return fg_fail(err, FG_NO_MEMORY, "no memory for a sampler");
    s->vocab = vocab_size;
    s->temperature = CHOOSE(FG_SET_TEMPERATURE, temperature);
    if (s->temperature > 0 && s->temperature < TEMPERATURE_LEAST)
        s->temperature = 0;
    s->top_p = CHOOSE(FG_SET_TOP_P, top_p);
    s->min_p = CHOOSE(FG_SET_MIN_P, min_p);
    s->typical_p = CHOOSE(FG_SET_TYPICAL_P, typical_p);
    s->repeat_penalty = CHOOSE(FG_SET_REPEAT_PENALTY, repeat_penalty);
    s->frequency_penalty = CHOOSE(FG_SET_FREQUENCY_PENALTY, frequency_penalty);
    s->presence_penalty = CHOOSE(FG_SET_PRESENCE_PENALTY, presence_penalty);
    s->top_k = CHOOSE(FG_SET_TOP_K, top_k);
    const bool seeded = (asked && (asked->set & FG_SET_SEED)) || (defaults->set & FG_SET_SEED);
    s->seed = seeded ? CHOOSE(FG_SET_SEED, seed) : random_seed();
    fg_rng_seed(&s->rng, s->seed, 0);
    int32_t window = CHOOSE(FG_SET_REPEAT_LAST_N, repeat_last_n);
    if (s->repeat_penalty == 1 && s->frequency_penalty == 0 && s->presence_penalty == 0)
        window = 0;
    fg_history_init(&s->history, window > WINDOW_MOST ? -1 : window);
    int32_t rc = vocab_size ? check(s, err) : fg_fail(err, FG_INTERNAL, "the vocabulary is empty");
    if (rc == FG_OK)
        rc = copy_bias(s, asked, err);
    if (rc != FG_OK) {
        fg_sampler_close(s);
        return rc;
    }
    *out = s;
    return FG_OK;
}

void fg_sampler_close(struct fg_sampler *s)
{
    if (!s)
        return;
    fg_history_done(&s->history);
    free(s->bias);
    free(s->forbidden);
    free(s->cand);
    free(s->rank);
    free(s);
}

void fg_sampler_accept(struct fg_sampler *s, int32_t token)
{
    /* Without memory a token is not remembered: its penalty is missed, the answer goes on. */
    if (token >= 0 && (uint32_t)token < s->vocab)
        (void)fg_history_add(&s->history, token);
}

int32_t fg_sampler_fork(const struct fg_sampler *s, uint32_t choice, struct fg_sampler **out)
{
    struct fg_sampler *copy = malloc(sizeof *copy);
    if (!copy)
        return FG_NO_MEMORY;
    memcpy(copy, s, sizeof *copy);
    copy->bias = NULL;
    copy->forbidden = NULL;
    copy->cand = NULL;
    copy->rank = NULL;
    copy->cand_room = 0;
    copy->bias_count = copy->forbidden_count = 0;
    fg_rng_seed(&copy->rng, s->seed, choice);
    if (!fg_history_copy(&copy->history, &s->history)) {
        free(copy);
        return FG_NO_MEMORY;
    }
    if (s->bias_count) {
        copy->bias = malloc(s->bias_count * sizeof *s->bias);
        if (!copy->bias)
            goto failed;
        memcpy(copy->bias, s->bias, s->bias_count * sizeof *s->bias);
        copy->bias_count = s->bias_count;
    }
    if (fg_sampler_forbid(copy, s->forbidden, s->forbidden_count) != FG_OK)
        goto failed;
    *out = copy;
    return FG_OK;
failed:
    fg_sampler_close(copy);
    return FG_NO_MEMORY;
}

int32_t fg_sampler_forbid(struct fg_sampler *s, const int32_t *tokens, size_t count)
{
    if (count == 0)
        return FG_OK;
    int32_t *grown = realloc(s->forbidden, (s->forbidden_count + count) * sizeof *grown);
    if (!grown)
        return FG_NO_MEMORY;
    s->forbidden = grown;
    for (size_t i = 0; i < count; i++)
        if (tokens[i] >= 0 && (uint32_t)tokens[i] < s->vocab)
            s->forbidden[s->forbidden_count++] = tokens[i];
    return FG_OK;
}

/* ---- the chain ------------------------------------------------------------------------------- */

static void apply_penalties(const struct fg_sampler *s, float *logits)
{
    for (size_t i = 0; i < s->history.capacity; i++) {
        const struct fg_history_slot *slot = &s->history.slots[i];
        if (!slot->used || slot->count == 0)
            continue;
        float *x = &logits[slot->token];
        *x = *x > 0 ? *x / s->repeat_penalty : *x * s->repeat_penalty;
        *x -= (float)slot->count * s->frequency_penalty + s->presence_penalty;
    }
}

static bool make_room(struct fg_sampler *s, size_t count)
{
    if (count <= s->cand_room)
        return true;
    free(s->cand);
    free(s->rank);
    s->cand = malloc(count * sizeof *s->cand);
    s->rank = malloc(count * sizeof *s->rank);
    s->cand_room = s->cand && s->rank ? count : 0;
    return s->cand_room != 0;
}

static size_t typical(struct fg_sampler *s, size_t count)
{
    fg_pick_softmax(s->cand, count);
    double entropy = 0;
    for (size_t i = 0; i < count; i++)
        if (s->cand[i].p > 0)
            entropy -= (double)s->cand[i].p * log((double)s->cand[i].p);
    for (size_t i = 0; i < count; i++) {
        const double surprise = s->cand[i].p > 0 ? -log((double)s->cand[i].p) : 1e4;
        s->rank[i] = (float)fabs(surprise - entropy);
    }
    return fg_pick_mass(s->cand, s->rank, count, (double)s->typical_p);
}

static float best_logit(const struct fg_sampler *s, size_t count)
{
    float best = s->cand[0].logit;
    for (size_t i = 1; i < count; i++)
        best = s->cand[i].logit > best ? s->cand[i].logit : best;
    return best;
}

/* mass: of what the candidates hold together. */
static size_t keep_best(struct fg_sampler *s, size_t count, double mass)
{
    const float best = best_logit(s, count);
    for (size_t i = 0; i < count; i++)
        s->rank[i] = best - s->cand[i].logit;
    return fg_pick_mass(s->cand, s->rank, count, mass);
}

static size_t top_p(struct fg_sampler *s, size_t count)
{
    fg_pick_softmax(s->cand, count);
    return keep_best(s, count, (double)s->top_p);
}

/* Top-p over a whole vocabulary: what is wanted nearly always lies within a few nats of the best,
 * and whether it does is known from the sum over all, which is one fast pass. */
static size_t top_p_of_all(struct fg_sampler *s, const float *logits)
{
    const float max = fg_pick_max(logits, s->vocab, NULL);
    const double total = fg_pick_sum_exp(logits, s->vocab, max);
    for (float reach = 10;; reach = INFINITY) {
        const size_t count = fg_pick_above(logits, s->vocab, max - reach, s->cand);
        if (count == 0)
            return 0;
        fg_pick_softmax(s->cand, count);
        double held = 0;
        for (size_t i = 0; i < count; i++)
            if (s->cand[i].logit == max)
                held = 1.0 / (double)s->cand[i].p;
        const double mass = (double)s->top_p * total / held;
        if (mass <= 1 || reach == INFINITY)
            return keep_best(s, count, mass);
    }
}

static size_t min_p(struct fg_sampler *s, size_t count)
{
    const float bound = best_logit(s, count) + (float)log((double)s->min_p);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (s->cand[i].logit >= bound)
            s->cand[kept++] = s->cand[i];
    return kept;
}

/* What top-k, typical and top-p leave. */
static size_t gather(struct fg_sampler *s, const float *logits, bool top_k)
{
    size_t count;
    if (!top_k && s->typical_p >= 1 && s->top_p < 1)
        return top_p_of_all(s, logits);
    if (top_k)
        count = fg_pick_top(logits, s->vocab, (size_t)s->top_k, s->cand);
    else
        count = fg_pick_above(logits, s->vocab, -INFINITY, s->cand);
    if (count && s->typical_p < 1)
        count = typical(s, count);
    if (count && s->top_p < 1)
        count = top_p(s, count);
    return count;
}

static int32_t roll(struct fg_sampler *s, size_t count)
{
    const float best = best_logit(s, count);
    for (size_t i = 0; i < count; i++) /* from 0 down: a tiny temperature cannot overflow upwards */
        s->cand[i].logit = (s->cand[i].logit - best) / s->temperature;
    fg_pick_softmax(s->cand, count);
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)s->cand[i].p;
    double left = fg_rng_unit(&s->rng) * sum;
    size_t last = 0;
    for (size_t i = 0; i < count; i++) {
        if (s->cand[i].p <= 0)
            continue;
        last = i;
        left -= (double)s->cand[i].p;
        if (left < 0)
            break;
    }
    return s->cand[last].id;
}

static int32_t draw_one(struct fg_sampler *s, const float *logits, int32_t *token,
                        struct fg_error *err)
{
    const bool top_k = s->top_k > 0 && (uint32_t)s->top_k < s->vocab;
    if (!top_k && s->typical_p >= 1 && s->top_p >= 1 && s->min_p <= 0) {
        const float max = fg_pick_max(logits, s->vocab, NULL);
        if (max == -INFINITY)
            return fg_fail(err, FG_INTERNAL, "no token may be drawn");
        *token =
            (int32_t)fg_pick_roll(logits, s->vocab, max, 1 / s->temperature, fg_rng_unit(&s->rng));
        return FG_OK;
    }
    if (!make_room(s, top_k ? (size_t)s->top_k : s->vocab))
        return fg_fail(err, FG_NO_MEMORY, "no memory to sample");
    size_t count = gather(s, logits, top_k);
    if (count == 0)
        return fg_fail(err, FG_INTERNAL, "no token may be drawn");
    if (s->min_p > 0)
        count = min_p(s, count);
    *token = roll(s, count);
    return FG_OK;
}

static uint32_t report_top(struct fg_sampler *s, const float *logits, uint32_t top, double lse)
{
    const size_t most = top < TOP_MOST ? top : TOP_MOST;
    const size_t count = fg_pick_top(logits, s->vocab, most, s->top_scratch);
    for (size_t i = 0; i < count; i++)
        s->top[i] = (struct fg_logprob){.token = s->top_scratch[i].id,
                                        .logprob = (float)((double)s->top_scratch[i].logit - lse)};
    return (uint32_t)count;
}

/* The raw logits of what bias and penalties will change: a drawn one's is reported. */
struct raw {
    int32_t token;
    float logit;
};

static struct raw *keep_raw(const struct fg_sampler *s, const float *logits, size_t *count)
{
    struct raw *list = malloc((s->bias_count + s->history.used + 1) * sizeof *list);
    *count = 0;
    if (!list)
        return NULL;
    for (size_t i = 0; i < s->bias_count; i++)
        list[(*count)++] = (struct raw){s->bias[i].token, logits[s->bias[i].token]};
    for (size_t i = 0; i < s->history.capacity; i++)
        if (s->history.slots[i].used)
            list[(*count)++] =
                (struct raw){s->history.slots[i].token, logits[s->history.slots[i].token]};
    return list;
}

static float raw_logit(const struct raw *list, size_t count, const float *logits, int32_t token)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].token == token)
            return list[i].logit;
    return logits[token];
}

int32_t fg_sampler_draw(struct fg_sampler *s, float *logits, bool want_logprob, uint32_t top,
                        struct fg_sampled *out, struct fg_error *err)
{
    bool finite;
    const float max = fg_pick_max(logits, s->vocab, &finite);
    if (!finite)
        return fg_fail(err, FG_INTERNAL, "the model gave logits that are not finite");
    struct fg_sampled got = {.top = s->top};
    double lse = 0;
    const bool touched = s->forbidden_count || s->bias_count || s->history.used;
    struct raw *raw = NULL;
    size_t raw_count = 0;
    if (want_logprob) {
        lse = (double)max + log(fg_pick_sum_exp(logits, s->vocab, max));
        got.top_count = top ? report_top(s, logits, top, lse) : 0;
        raw = keep_raw(s, logits, &raw_count);
        if (!raw)
            return fg_fail(err, FG_NO_MEMORY, "no memory to sample");
    }
    for (size_t i = 0; i < s->forbidden_count; i++)
        logits[s->forbidden[i]] = -INFINITY;
    for (size_t i = 0; i < s->bias_count; i++)
        logits[s->bias[i].token] += s->bias[i].bias;
    apply_penalties(s, logits);
    int32_t rc = FG_OK;
    if (s->temperature == 0)
        got.token = (int32_t)(touched ? fg_pick_argmax(logits, s->vocab)
                                      : fg_pick_first(logits, s->vocab, max));
    else
        rc = draw_one(s, logits, &got.token, err);
    if (rc == FG_OK && want_logprob)
        got.logprob = (float)((double)raw_logit(raw, raw_count, logits, got.token) - lse);
    free(raw);
    if (rc == FG_OK)
        *out = got;
    return rc;
}
