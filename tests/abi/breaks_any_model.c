/* Loads what is not there. Caught by: a model that is not there is refused with a text. */
#include "breaks.h"

static int32_t load(struct fg_backend *b, const struct fg_model_spec *spec, struct fg_model **out,
                    struct fg_error *err)
{
    struct fg_model_spec other = *spec;
    other.name = (struct fg_str){"echo", 4};
    other.path = (struct fg_str){"", 0};
    return kept->load(b, &other, out, err);
}

void breaks(struct breaks *b)
{
    b->table.load = load;
}
