/*
 * Kernels of the tesla device against plain fp64 on the host: each weight type, few and many rows,
 * odd sizes; repacking; attention over pages; rotation; gathering; graphs.
 *
 * Bounds are normalised mean square errors (tesla-engine design, section 10): against the exact
 * product of dequantised weights and inputs, 8-bit inputs may err by 5e-4, fp16 tensor cores by
 * 1e-5, floats by 1e-9.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/plugin.h"
#include "tesla/tesla.h"
#include "util/clock.h"

enum { ROWS_MOST = 160 };

static struct fg_dev *dev;
static uint64_t state = 88172645463325252u;

static uint32_t draw(void)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 16);
}
static float uniform(void) /* -1 .. 1 */
{
    return (float)(draw() & 0xffffff) / 8388608.0f - 1.0f;
}
static float normal(void)
{
    float s = 0;
    for (int i = 0; i < 6; i++)
        s += uniform();
    return s * 0.7f;
}

static int open_device(void **ctx)
{
    (void)ctx;
    struct fg_error err = {0};
    json_t *config = json_object();
    const int32_t rc = fg_tesla_open(config, &dev, &err);
    json_decref(config);
    if (rc != FG_OK) {
        printf("skip: %s\n", err.text);
        dev = NULL;
    } else {
        printf("# %s\n", fg_tesla_text(dev));
    }
    return 0;
}
static int close_device(void **ctx)
{
    (void)ctx;
    fg_tesla_close(dev);
    dev = NULL;
    return 0;
}
static void need_device(void)
{
    if (!dev) {
        printf("skip: no CUDA device\n");
        skip();
    }
}

static void must(int32_t rc, const struct fg_error *err)
{
    if (rc != FG_OK)
        fail_msg("%d: %s", rc, err->text);
}

/* Random blocks whose scales are sane halves. */
static void fill_blocks(int32_t type, uint8_t *b, size_t blocks)
{
    const struct fg_quant_info *info = fg_quant_info(type);
    static const struct {
        int32_t type;
        int at[2];
    } halves[] = {{FG_Q4_0, {0, -1}},  {FG_Q4_1, {0, 2}},   {FG_Q5_0, {0, -1}},  {FG_Q5_1, {0, 2}},
                  {FG_Q8_0, {0, -1}},  {FG_IQ4_NL, {0, -1}}, {FG_Q2_K, {80, 82}}, {FG_Q3_K, {108, -1}},
                  {FG_Q4_K, {0, 2}},   {FG_Q5_K, {0, 2}},    {FG_Q6_K, {208, -1}}, {FG_IQ4_XS, {0, -1}}};
    for (size_t i = 0; i < blocks * info->block_bytes; i++)
        b[i] = (uint8_t)draw();
    for (size_t n = 0; n < blocks; n++, b += info->block_bytes) {
        if (type == FG_MXFP4)
            b[0] = (uint8_t)(118 + draw() % 6);
        if (type == FG_F16 || type == FG_BF16 || type == FG_F32) {
            const float v = normal() * 0.05f;
            uint32_t bits;
            memcpy(&bits, &v, 4);
            const uint16_t h = type == FG_F16 ? fg_f32_to_f16(v) : (uint16_t)(bits >> 16);
            memcpy(b, type == FG_F32 ? (const void *)&v : (const void *)&h, info->block_bytes);
        }
        for (size_t i = 0; i < sizeof halves / sizeof *halves; i++)
            for (int j = 0; halves[i].type == type && j < 2; j++)
                if (halves[i].at[j] >= 0) {
                    const uint16_t h = fg_f32_to_f16(0.002f + 0.01f * fabsf(uniform()));
                    memcpy(b + halves[i].at[j], &h, 2);
                }
    }
}

struct matrix {
    struct fg_gguf_tensor t;
    uint8_t *blocks;
    float *values; /* [n][k] */
    struct fg_weight *w;
    uint32_t n, k;
};

static struct matrix make(int32_t type, uint32_t n, uint32_t k)
{
    struct fg_error err = {0};
    const struct fg_quant_info *info = fg_quant_info(type);
    const size_t blocks = (size_t)n * k / info->block;
    struct matrix m = {.n = n, .k = k};
    m.blocks = malloc(blocks * info->block_bytes);
    m.values = malloc((size_t)n * k * sizeof *m.values);
    fill_blocks(type, m.blocks, blocks);
    fg_dequantize(type, m.blocks, m.values, (size_t)n * k);
    m.t = (struct fg_gguf_tensor){.name = {"test", 4},
                                  .type = type,
                                  .dims = n ? 2 : 1,
                                  .shape = {k, n, 1, 1},
                                  .data = m.blocks,
                                  .bytes = blocks * info->block_bytes};
    must(fg_device_ops.weight_load(dev, &m.t, &m.w, &err), &err);
    return m;
}
static void unmake(struct matrix *m)
{
    fg_device_ops.weight_free(dev, m->w);
    free(m->blocks);
    free(m->values);
}
static struct fg_weight *vector(const float *values, uint32_t count)
{
    struct fg_error err = {0};
    struct fg_weight *w;
    const struct fg_gguf_tensor t = {.name = {"v", 1},
                                     .type = FG_F32,
                                     .dims = 1,
                                     .shape = {count, 1, 1, 1},
                                     .data = values,
                                     .bytes = count * 4};
    must(fg_device_ops.weight_load(dev, &t, &w, &err), &err);
    return w;
}
static struct fg_buffer *buffer(uint32_t width)
{
    struct fg_error err = {0};
    struct fg_buffer *b;
    must(fg_device_ops.buffer_open(dev, ROWS_MOST, width, &b, &err), &err);
    return b;
}
static void put(struct fg_buffer *b, const float *v, size_t count)
{
    assert_int_equal(cudaMemcpy(b->data, v, count * 4, cudaMemcpyHostToDevice), cudaSuccess);
}
static void get(const struct fg_buffer *b, float *v, size_t count)
{
    assert_int_equal(cudaMemcpy(v, b->data, count * 4, cudaMemcpyDeviceToHost), cudaSuccess);
}

/* A cache of the smallest kind: a step wants one. */
static struct fg_kv *cache(uint32_t kv_heads, uint32_t head_dim, uint32_t pages)
{
    struct fg_error err = {0};
    struct fg_kv *kv;
    const struct fg_kv_shape shape = {1, kv_heads, head_dim, 32, pages};
    must(fg_device_ops.kv_open(dev, &shape, &kv, &err), &err);
    return kv;
}
static int32_t tokens[ROWS_MOST];
static uint32_t positions[ROWS_MOST], sequences[ROWS_MOST];
static uint32_t table0[64], table1[64];
static const uint32_t *tables[2] = {table0, table1};
static struct fg_rows rows_of(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        positions[i] = i;
    for (uint32_t i = 0; i < 64; i++)
        table0[i] = i, table1[i] = 63 - i;
    return (struct fg_rows){count, tokens, positions, sequences, tables};
}

static double nmse(const float *got, const double *want, size_t count)
{
    double error = 0, whole = 0;
    for (size_t i = 0; i < count; i++) {
        error += (got[i] - want[i]) * (got[i] - want[i]);
        whole += want[i] * want[i];
    }
    return error / (whole > 0 ? whole : 1);
}

static void product64(const struct matrix *m, const float *x, uint32_t rows, double *y)
{
    for (uint32_t i = 0; i < rows; i++)
        for (uint32_t r = 0; r < m->n; r++) {
            double s = 0;
            for (uint32_t k = 0; k < m->k; k++)
                s += (double)m->values[(size_t)r * m->k + k] * x[(size_t)i * m->k + k];
            y[(size_t)i * m->n + r] = s;
        }
}

static double bound(uint32_t rows, int32_t type)
{
    const bool is_float = type == FG_F32 || type == FG_F16 || type == FG_BF16;
    if (rows > dev->family->few && dev->family->has_tensor_cores)
        return 1e-5;
    return is_float || dev->family->is_float ? 1e-9 : 5e-4;
}

static const int32_t types[] = {FG_F32,  FG_F16,  FG_BF16, FG_Q4_0, FG_Q4_1, FG_Q5_0,   FG_Q5_1,   FG_Q8_0,
                                FG_Q2_K, FG_Q3_K, FG_Q4_K, FG_Q5_K, FG_Q6_K, FG_IQ4_NL, FG_IQ4_XS, FG_MXFP4};
enum { TYPES = sizeof types / sizeof *types };

static void repacked_weights_are_the_files(void **ctx)
{
    (void)ctx;
    need_device();
    float *got = malloc(70 * 512 * sizeof *got);
    for (int i = 3; i < TYPES; i++) {
        struct matrix m = make(types[i], 70, 512);
        float *out;
        assert_int_equal(cudaMalloc((void **)&out, 70 * 512 * 4), cudaSuccess);
        dev->family->dequantize(dev->stream, m.w->m, 0, 70, out);
        assert_int_equal(cudaStreamSynchronize(dev->stream), cudaSuccess);
        cudaMemcpy(got, out, 70 * 512 * 4, cudaMemcpyDeviceToHost);
        for (size_t j = 0; j < 70 * 512; j++)
            if (fabsf(got[j] - m.values[j]) > 1e-6f * fabsf(m.values[j]) + 1e-9f)
                fail_msg("%s: weight %zu is %g, not %g", fg_quant_info(types[i])->name, j,
                         (double)got[j], (double)m.values[j]);
        cudaFree(out);
        unmake(&m);
    }
    free(got);
}

static void one_product(int32_t type, uint32_t n, uint32_t k, uint32_t rows, bool gated)
{
    struct fg_error err = {0};
    struct matrix m = make(type, n, k), up = make(type, n, k);
    struct fg_buffer *in = buffer(k), *out = buffer(n);
    struct fg_kv *kv = cache(1, 64, 64);
    float *x = malloc((size_t)rows * k * 4), *y = malloc((size_t)rows * n * 4);
    double *want = malloc((size_t)rows * n * 8), *other = malloc((size_t)rows * n * 8);
    for (size_t i = 0; i < (size_t)rows * k; i++)
        x[i] = normal();
    put(in, x, (size_t)rows * k);
    const struct fg_rows step = rows_of(rows);
    product64(&m, x, rows, want);
    for (int turn = 0; turn < 3; turn++) { /* walked, captured, replayed */
        fg_device_ops.begin(dev, &step);
        if (gated)
            fg_device_ops.project_gated(dev, &(struct fg_project_gated){.in = in,
                                                                        .gate = {.weight = m.w},
                                                                        .up = {.weight = up.w},
                                                                        .act = FG_GATE_SILU,
                                                                        .out = out});
        else
            fg_device_ops.project(
                dev, &(struct fg_project){.in = in, .count = 1, .part = {{m.w, NULL, out}}});
        must(fg_device_ops.sync(dev, &err), &err);
        get(out, y, (size_t)rows * n);
    }
    if (gated) {
        product64(&up, x, rows, other);
        for (size_t i = 0; i < (size_t)rows * n; i++)
            want[i] = want[i] / (1 + exp(-want[i])) * other[i];
    }
    const double e = nmse(y, want, (size_t)rows * n), most = bound(rows, type) * (gated ? 4 : 1);
    if (!(e <= most))
        fail_msg("%s %u x %u, %u rows%s: error %g, at most %g", fg_quant_info(type)->name, n, k, rows,
                 gated ? ", gated" : "", e, most);
    fg_device_ops.kv_free(dev, kv);
    fg_device_ops.buffer_free(dev, in);
    fg_device_ops.buffer_free(dev, out);
    unmake(&m);
    unmake(&up);
    free(x), free(y), free(want), free(other);
}

static void products_of_every_type(void **ctx)
{
    (void)ctx;
    need_device();
    static const uint32_t rows[] = {1, 2, 3, 5, 8, 9, 33, 100};
    for (int i = 0; i < TYPES; i++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            one_product(types[i], 70, 512, rows[r], false);
            one_product(types[i], 131, 256, rows[r], rows[r] % 2);
        }
}
static void products_of_short_rows(void **ctx)
{
    (void)ctx;
    need_device();
    static const int32_t small[] = {FG_F16, FG_Q4_1, FG_Q8_0, FG_IQ4_NL, FG_Q5_0};
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        for (uint32_t k = 32; k <= 1120; k += 544) { /* 32, 576, 1120: odd numbers of blocks too */
            one_product(small[i], 17, k, 1, false);
            one_product(small[i], 129, k, 7, true);
            one_product(small[i], 129, k, 65, false);
            one_product(small[i], 200, k, 150, true);
        }
}
static void long_rows_are_split(void **ctx)
{
    (void)ctx;
    need_device();
    one_product(FG_Q4_K, 256, 8192, 16, false);
    one_product(FG_Q8_0, 256, 8192, 64, true);
}

static void norms_adds_and_biases(void **ctx)
{
    (void)ctx;
    need_device();
    struct fg_error err = {0};
    enum { K = 256, N = 96 };
    static const uint32_t counts[] = {1, 6, 40};
    float weight[K], bias[N], post[N];
    for (int i = 0; i < K; i++)
        weight[i] = 1 + 0.2f * uniform();
    for (int i = 0; i < N; i++)
        bias[i] = uniform(), post[i] = 1 + 0.2f * uniform();
    for (size_t c = 0; c < 3; c++) {
        const uint32_t rows = counts[c];
        struct matrix m = make(FG_F32, N, K);
        struct fg_weight *norm = vector(weight, K), *b = vector(bias, N), *after = vector(post, N);
        struct fg_buffer *in = buffer(K), *out = buffer(N), *onto = buffer(N);
        struct fg_kv *kv = cache(1, 64, 64);
        float x[40 * K], y[40 * N], z[40 * N], start[40 * N];
        double want[40 * N];
        for (uint32_t i = 0; i < rows * K; i++)
            x[i] = normal() * 3;
        for (uint32_t i = 0; i < rows * N; i++)
            start[i] = normal();
        put(in, x, rows * K);
        put(onto, start, rows * N);
        const struct fg_rows step = rows_of(rows);
        fg_device_ops.begin(dev, &step);
        fg_device_ops.project(dev, &(struct fg_project){.in = in,
                                                        .norm = norm,
                                                        .eps = 1e-5f,
                                                        .count = 1,
                                                        .part = {{m.w, b, out}}});
        fg_device_ops.project_add(dev, &(struct fg_project_add){.in = in,
                                                                .part = {.weight = m.w, .bias = b},
                                                                .post_norm = after,
                                                                .eps = 1e-6f,
                                                                .onto = onto});
        must(fg_device_ops.sync(dev, &err), &err);
        get(out, y, rows * N);
        get(onto, z, rows * N);
        float normed[40 * K];
        for (uint32_t i = 0; i < rows; i++) {
            double s = 0;
            for (int k = 0; k < K; k++)
                s += (double)x[i * K + k] * x[i * K + k];
            const double f = 1 / sqrt(s / K + 1e-5);
            for (int k = 0; k < K; k++)
                normed[i * K + k] = (float)(x[i * K + k] * f * weight[k]);
        }
        product64(&m, normed, rows, want);
        for (uint32_t i = 0; i < rows * N; i++)
            want[i] += bias[i % N];
        const double most = rows > dev->family->few && dev->family->has_tensor_cores ? 1e-5 : 1e-9;
        assert_true(nmse(y, want, rows * N) <= most);
        product64(&m, x, rows, want);
        for (uint32_t i = 0; i < rows; i++) {
            double s = 0;
            for (int k = 0; k < N; k++) {
                want[i * N + k] += bias[k];
                s += want[i * N + k] * want[i * N + k];
            }
            const double f = 1 / sqrt(s / N + 1e-6);
            for (int k = 0; k < N; k++)
                want[i * N + k] = start[i * N + k] + want[i * N + k] * f * post[k];
        }
        assert_true(nmse(z, want, rows * N) <= most);
        fg_device_ops.kv_free(dev, kv);
        fg_device_ops.buffer_free(dev, in);
        fg_device_ops.buffer_free(dev, out);
        fg_device_ops.buffer_free(dev, onto);
        fg_device_ops.weight_free(dev, norm);
        fg_device_ops.weight_free(dev, b);
        fg_device_ops.weight_free(dev, after);
        unmake(&m);
    }
}

/* ---- attention ------------------------------------------------------------------------------- */

struct past { /* of one sequence, on the host */
    float *k, *v; /* [tokens][kv_heads * d] */
};

static void rotate(float *head, uint32_t d, uint32_t position, const float *frequency, bool halves)
{
    for (uint32_t i = 0; i < d / 2; i++) {
        const uint32_t x = halves ? i : 2 * i, y = halves ? i + d / 2 : 2 * i + 1;
        const double a = (double)((float)position * frequency[i]);
        const double u = head[x], v = head[y];
        head[x] = (float)(u * cos(a) - v * sin(a));
        head[y] = (float)(u * sin(a) + v * cos(a));
    }
}

static void attention_case(uint32_t d, uint32_t heads, uint32_t kv_heads, uint32_t length,
                           uint32_t window, float softcap, bool halves, float spread)
{
    struct fg_error err = {0};
    const uint32_t q_width = heads * d, kv_width = kv_heads * d, group = heads / kv_heads;
    struct fg_buffer *q = buffer(q_width), *k = buffer(kv_width), *v = buffer(kv_width),
                     *out = buffer(q_width);
    struct fg_kv *kv = cache(kv_heads, d, 64);
    struct fg_rope *rope;
    float *frequency = malloc(d / 2 * 4);
    for (uint32_t i = 0; i < d / 2; i++)
        frequency[i] = powf(10000.0f, -2.0f * (float)i / (float)d);
    const struct fg_rope_spec spec = {d, halves, 1.0f, frequency};
    must(fg_device_ops.rope_open(dev, &spec, ROWS_MOST, &rope, &err), &err);
    struct past past = {malloc((size_t)length * kv_width * 4), malloc((size_t)length * kv_width * 4)};
    float *hq = malloc((size_t)ROWS_MOST * q_width * 4), *got = malloc((size_t)ROWS_MOST * q_width * 4);
    double *want = malloc((size_t)ROWS_MOST * q_width * 8), *score = malloc(length * 8);
    const float scale = 1.0f / sqrtf((float)d);
    rows_of(1);
    for (uint32_t at = 0; at < length;) {
        /* the last token alone, as in decode; before it pieces of a prompt */
        uint32_t n = length - at > 1 ? (length - at - 1 < 100 ? length - at - 1 : 100) : 1;
        for (uint32_t i = 0; i < n; i++)
            positions[i] = at + i, sequences[i] = 1;
        for (uint32_t i = 0; i < n * q_width; i++)
            hq[i] = normal() * spread;
        for (uint32_t i = 0; i < n * kv_width; i++) {
            past.k[(size_t)at * kv_width + i] = normal();
            past.v[(size_t)at * kv_width + i] = normal();
        }
        put(q, hq, (size_t)n * q_width);
        put(k, past.k + (size_t)at * kv_width, (size_t)n * kv_width);
        put(v, past.v + (size_t)at * kv_width, (size_t)n * kv_width);
        const struct fg_rows step = {n, tokens, positions, sequences, tables};
        fg_device_ops.begin(dev, &step);
        fg_device_ops.attend(dev, &(struct fg_attend){.q = q,
                                                      .k = k,
                                                      .v = v,
                                                      .rope = rope,
                                                      .kv = kv,
                                                      .heads = heads,
                                                      .scale = scale,
                                                      .window = window,
                                                      .softcap = softcap,
                                                      .out = out});
        must(fg_device_ops.sync(dev, &err), &err);
        get(out, got, (size_t)n * q_width);
        for (uint32_t i = 0; i < n; i++) {
            for (uint32_t h = 0; h < kv_heads; h++) {
                float *head = past.k + (size_t)(at + i) * kv_width + h * d;
                rotate(head, d, at + i, frequency, halves);
                for (uint32_t c = 0; c < d; c++) { /* as the pages hold them */
                    head[c] = fg_f16_to_f32(fg_f32_to_f16(head[c]));
                    float *value = past.v + (size_t)(at + i) * kv_width + h * d + c;
                    *value = fg_f16_to_f32(fg_f32_to_f16(*value));
                }
            }
            for (uint32_t h = 0; h < heads; h++)
                rotate(hq + (size_t)i * q_width + h * d, d, at + i, frequency, halves);
        }
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t h = 0; h < heads; h++) {
                const uint32_t last = at + i, first = window && last + 1 > window ? last + 1 - window : 0;
                const float *query = hq + (size_t)i * q_width + h * d;
                double top = -INFINITY, whole = 0;
                for (uint32_t t = first; t <= last; t++) {
                    double s = 0;
                    for (uint32_t c = 0; c < d; c++)
                        s += (double)query[c] * past.k[(size_t)t * kv_width + h / group * d + c];
                    s *= scale;
                    score[t] = softcap > 0 ? softcap * tanh(s / softcap) : s;
                    top = score[t] > top ? score[t] : top;
                }
                for (uint32_t t = first; t <= last; t++)
                    whole += score[t] = exp(score[t] - top);
                for (uint32_t c = 0; c < d; c++) {
                    double s = 0;
                    for (uint32_t t = first; t <= last; t++)
                        s += score[t] * past.v[(size_t)t * kv_width + h / group * d + c];
                    want[(size_t)i * q_width + h * d + c] = s / whole;
                }
            }
        const double e = nmse(got, want, (size_t)n * q_width);
        if (!(e <= 1e-5))
            fail_msg("%u heads of %u, length %u, %u rows at %u, window %u: error %g", heads, d, length,
                     n, at, window, e);
        at += n;
    }
    fg_device_ops.rope_free(dev, rope);
    fg_device_ops.kv_free(dev, kv);
    fg_device_ops.buffer_free(dev, q);
    fg_device_ops.buffer_free(dev, k);
    fg_device_ops.buffer_free(dev, v);
    fg_device_ops.buffer_free(dev, out);
    free(frequency), free(past.k), free(past.v), free(hq), free(got), free(want), free(score);
}

static void attention_over_pages(void **ctx)
{
    (void)ctx;
    need_device();
    static const uint32_t lengths[] = {1, 31, 32, 33, 257, 1000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        attention_case(64, 9, 3, lengths[i], 0, 0, false, 1);
        attention_case(128, 8, 2, lengths[i], 0, 0, false, 1);
        attention_case(256, 4, 1, lengths[i], 0, 0, true, 1);
    }
    attention_case(64, 4, 4, 700, 96, 0, true, 1); /* a window */
    attention_case(128, 16, 2, 500, 0, 30, true, 1); /* eight queries a head, capped */
    attention_case(64, 9, 3, 600, 0, 0, false, 20); /* one score far above the others */
    attention_case(128, 8, 2, 300, 0, 0, false, 0); /* all alike */
}

static void embedding_gather_and_logits(void **ctx)
{
    (void)ctx;
    need_device();
    struct fg_error err = {0};
    enum { N = 300, K = 256, ROWS = 12 };
    struct matrix m = make(FG_Q6_K, N, K);
    struct fg_buffer *x = buffer(K);
    struct fg_kv *kv = cache(1, 64, 64);
    struct fg_rows step = rows_of(ROWS);
    static float all[ROWS * K], logits[3 * N];
    static double want[3 * N];
    const uint32_t index[3] = {0, 5, 11};
    for (int i = 0; i < ROWS; i++)
        tokens[i] = (int32_t)(draw() % N);
    for (int turn = 0; turn < 3; turn++) {
        fg_device_ops.begin(dev, &step);
        fg_device_ops.embed(dev, m.w, 2.0f, x);
        fg_device_ops.read(dev, x, all);
        fg_device_ops.gather(dev, x, index, 3);
        fg_device_ops.narrow(dev, 3);
        fg_device_ops.logits(dev, x, m.w, 30.0f, logits);
        must(fg_device_ops.sync(dev, &err), &err);
    }
    float picked[3 * K];
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < K; k++) {
            const float v = m.values[tokens[i] * K + k] * 2;
            assert_true(fabsf(all[i * K + k] - v) <= 1e-5f * fabsf(v) + 1e-9f);
            for (int j = 0; j < 3; j++)
                if ((uint32_t)i == index[j])
                    picked[j * K + k] = v;
        }
    product64(&m, picked, 3, want);
    for (int i = 0; i < 3 * N; i++)
        want[i] = 30 * tanh(want[i] / 30);
    assert_true(nmse(logits, want, 3 * N) <= bound(3, FG_Q6_K));
    for (int i = 0; i < ROWS; i++)
        tokens[i] = 0;
    fg_device_ops.kv_free(dev, kv);
    fg_device_ops.buffer_free(dev, x);
    unmake(&m);
}

static void what_does_not_fit_is_refused_with_numbers(void **ctx)
{
    (void)ctx;
    need_device();
    struct fg_error err = {0};
    struct fg_kv *kv;
    const struct fg_kv_shape huge = {64, 64, 256, 32, 1 << 20};
    assert_int_equal(fg_device_ops.kv_open(dev, &huge, &kv, &err), FG_NO_MEMORY);
    assert_non_null(strstr(err.text, "MiB free"));
    struct matrix m = make(FG_Q8_0, 32, 64); /* the device goes on */
    unmake(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repacked_weights_are_the_files),
        cmocka_unit_test(products_of_every_type),
        cmocka_unit_test(products_of_short_rows),
        cmocka_unit_test(long_rows_are_split),
        cmocka_unit_test(norms_adds_and_biases),
        cmocka_unit_test(attention_over_pages),
        cmocka_unit_test(embedding_gather_and_logits),
        cmocka_unit_test(what_does_not_fit_is_refused_with_numbers),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
