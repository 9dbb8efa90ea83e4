// What this package calls in DuckDB's C API beyond the Go bindings, and what DuckDB calls back. The prototypes are
// repeated here with opaque pointers because the header lies in another module.
#include <stdint.h>

void otus_assign_text(void *vector, const char *bytes, const uint64_t *ends, uint64_t count, const uint64_t *validity);
void *otus_scalar_callback(void);
void *otus_delete_callback(void);
