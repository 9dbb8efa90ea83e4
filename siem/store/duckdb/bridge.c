#include "bridge.h"
#include <stddef.h>

void duckdb_unsafe_vector_assign_string_element_len(void *vector, uint64_t index, const char *text, uint64_t length);

// Defined in Go (native.go).
extern void otusScalar(void *info, void *input, void *output);
extern void otusDelete(void *extra);

void otus_assign_text(void *vector, const char *bytes, const uint64_t *ends, uint64_t count, const uint64_t *validity) {
	uint64_t start = 0;
	for (uint64_t i = 0; i < count; i++) {
		if (validity == NULL || (validity[i / 64] >> (i % 64) & 1)) {
			duckdb_unsafe_vector_assign_string_element_len(vector, i, bytes + start, ends[i] - start);
		}
		start = ends[i];
	}
}

void *otus_scalar_callback(void) { return (void *)otusScalar; }
void *otus_delete_callback(void) { return (void *)otusDelete; }
