/* See models.h. */
#include "cli/models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/client.h"

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* What a model file says of itself must not steer a terminal. */
static const char *clean(const char *text, char *out, size_t room)
{
    snprintf(out, room, "%s", text);
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    return out;
}

static void print_row(const char *name, const char *text)
{
    char line[256];
    printf("  %-13s %s\n", name, clean(text, line, sizeof line));
}

static void print_bytes(json_int_t bytes)
{
    if (bytes >= 1000000000)
        printf("%8.1f GB", (double)bytes / 1e9);
    else if (bytes >= 1000000)
        printf("%8.0f MB", (double)bytes / 1e6);
    else
        printf("%8.0f KB", (double)bytes / 1e3);
}

int fg_cli_ls(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    json_t *answer = NULL;
    int code = fg_client_get("/api/tags", &answer);
    if (code)
        return code;
    printf("%-40s %-12s %11s  %-8s %s\n", "NAME", "ID", "SIZE", "QUANT", "MODIFIED");
    size_t i;
    const json_t *model;
    json_array_foreach(json_object_get(answer, "models"), i, model)
    {
        char quant[32];
        const json_t *details = json_object_get(model, "details");
        printf("%-40s %-12.12s ", text_of(model, "name"), text_of(model, "digest"));
        print_bytes(json_integer_value(json_object_get(model, "size")));
        printf("  %-8s %.10s\n", clean(text_of(details, "quantization_level"), quant, sizeof quant),
               text_of(model, "modified_at"));
    }
    json_decref(answer);
    return 0;
}

int fg_cli_ps(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    json_t *answer = NULL;
    int code = fg_client_get("/api/ps", &answer);
    if (code)
        return code;
    printf("%-40s %11s %9s  %-10s %s\n", "NAME", "SIZE", "CONTEXT", "PROCESSOR", "UNTIL");
    size_t i;
    const json_t *model;
    json_array_foreach(json_object_get(answer, "models"), i, model)
    {
        json_int_t size = json_integer_value(json_object_get(model, "size"));
        json_int_t vram = json_integer_value(json_object_get(model, "size_vram"));
        char processor[32];
        if (vram == 0 || size == 0)
            snprintf(processor, sizeof processor, "100%% CPU");
        else
            snprintf(processor, sizeof processor, "%d%% GPU", (int)(100 * vram / size));
        printf("%-40s ", text_of(model, "name"));
        print_bytes(size);
        const char *until = text_of(model, "expires_at");
        if (strncmp(until, "22", 2) >= 0) /* the year 2319 stands for ever */
            until = "for ever";
        printf(" %9" JSON_INTEGER_FORMAT "  %-10s %.19s\n",
               json_integer_value(json_object_get(model, "context_length")), processor, until);
    }
    json_decref(answer);
    return 0;
}

static void print_info(const json_t *info)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)info, key, value)
    {
        char name[80], text[80];
        if (!json_is_string(value) && !json_is_number(value) && !json_is_boolean(value))
            continue;
        printf("    %-40s ", clean(key, name, sizeof name));
        if (json_is_string(value)) /* long ones, such as a chat template, are cut */
            printf("%s\n", clean(json_string_value(value), text, sizeof text));
        else if (json_is_integer(value))
            printf("%" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
        else if (json_is_real(value))
            printf("%g\n", json_real_value(value));
        else
            printf("%s\n", json_is_true(value) ? "true" : "false");
    }
}

int fg_cli_show(int argc, char **argv)
{
    (void)argc;
    json_t *answer = NULL;
    int code =
        fg_client_post("/api/show", json_pack("{s:s}", "model", argv[2]), NULL, NULL, &answer);
    if (code)
        return code;
    const json_t *details = json_object_get(answer, "details");
    printf("%s\n", argv[2]);
    print_row("family", text_of(details, "family"));
    print_row("parameters", text_of(details, "parameter_size"));
    print_row("quantization", text_of(details, "quantization_level"));
    printf("  capabilities ");
    size_t i;
    const json_t *capability;
    json_array_foreach(json_object_get(answer, "capabilities"), i, capability)
        printf(" %s", json_string_value(capability));
    printf("\n");
    const char *parameters = text_of(answer, "parameters");
    if (*parameters) {
        printf("  parameters of the model file\n");
        fg_client_print(fg_str_of(parameters));
        putchar('\n');
    }
    printf("  metadata\n");
    print_info(json_object_get(answer, "model_info"));
    json_decref(answer);
    return 0;
}

int fg_cli_tokenize(int argc, char **argv)
{
    (void)argc;
    json_t *answer = NULL;
    int code = fg_client_post("/tokenize",
                              json_pack("{s:s, s:s, s:b, s:b}", "model", argv[2], "content",
                                        argv[3], "add_special", 1, "with_pieces", 1),
                              NULL, NULL, &answer);
    if (code)
        return code;
    size_t i;
    const json_t *token;
    json_array_foreach(json_object_get(answer, "tokens"), i, token)
    {
        const json_t *piece = json_object_get(token, "piece");
        char *text = json_dumps(piece, JSON_ENCODE_ANY | JSON_COMPACT);
        printf("%7" JSON_INTEGER_FORMAT "  %s\n", json_integer_value(json_object_get(token, "id")),
               text ? text : "");
        free(text);
    }
    json_decref(answer);
    return 0;
}
