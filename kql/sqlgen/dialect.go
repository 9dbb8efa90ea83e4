package sqlgen

import "fmt"

// Dialect is the SQL of one store.
type Dialect struct {
	Name string
	// ops maps the name of an operation to its template.
	ops map[string]string
	// kinds are the store's names of the physical types.
	kinds [5]string
}

// Op is an operation by name. An unknown name is a bug of the compiler.
func (d *Dialect) Op(name string, args ...Expr) Expr {
	template, ok := d.ops[name]
	if !ok {
		panic(fmt.Sprintf("sqlgen: dialect %s has no operation %q", d.Name, name))
	}
	return Call{template, args}
}

// Has tells whether the dialect knows the operation.
func (d *Dialect) Has(name string) bool {
	_, ok := d.ops[name]
	return ok
}

// Kind is the store's name of a physical type.
func (d *Dialect) Kind(k Kind) string { return d.kinds[k] }

// DuckDB is the dialect of DuckDB 1.5.
var DuckDB = &Dialect{
	Name:  "duckdb",
	kinds: [5]string{"BOOLEAN", "INTEGER", "BIGINT", "DOUBLE", "VARCHAR"},
	ops: map[string]string{
		"and": "($1 AND $2)", "or": "($1 OR $2)", "not": "(NOT $1)",
		"is_null": "($1 IS NULL)", "is_not_null": "($1 IS NOT NULL)",
		"coalesce": "coalesce($*)", "nullif": "nullif($1, $2)",
		"true": "TRUE", "false": "FALSE", "empty": "''", "zero": "0", "one": "1",

		"eq": "($1 = $2)", "ne": "($1 <> $2)", "lt": "($1 < $2)", "le": "($1 <= $2)", "gt": "($1 > $2)", "ge": "($1 >= $2)",
		"same": "($1 IS NOT DISTINCT FROM $2)", "between": "($1 BETWEEN $2 AND $3)",
		"isnan": "isnan($1)", "isinf": "isinf($1)", "isfinite": "isfinite($1)",
		"in": "($1 IN ($2))", "list": "$*",

		"as_bool": "CAST($1 AS BOOLEAN)", "as_int": "CAST($1 AS INTEGER)", "as_long": "CAST($1 AS BIGINT)",
		"as_real": "CAST($1 AS DOUBLE)", "as_text": "CAST($1 AS VARCHAR)",
		"try_long": "TRY_CAST($1 AS BIGINT)", "try_int": "TRY_CAST($1 AS INTEGER)",

		// Kusto's long wraps at 64 bits, DuckDB's raises. The sum of two 64-bit numbers fits 128 bits; the
		// wrap shifts it to unsigned, cuts it to 64 bits and shifts it back.
		"add_wrap": wrap64("CAST($1 AS HUGEINT) + $2"),
		"sub_wrap": wrap64("CAST($1 AS HUGEINT) - $2"),
		"mul_wrap": wrap64("CAST($1 AS HUGEINT) * $2"),
		"sum_wrap": wrap64("$1"),
		"neg_wrap": wrap64("-CAST($1 AS HUGEINT)"),
		"int_wrap": "CAST((((CAST($1 AS HUGEINT) + 2147483648) & 4294967295) - 2147483648) AS INTEGER)",
		"add":      "($1 + $2)", "sub": "($1 - $2)", "mul": "($1 * $2)", "neg": "(-$1)", "div": "($1 / $2)",
		// Never TRY: DuckDB 1.5.0 computes it for the wrong rows wherever only some of a chunk's rows are asked
		// for, as behind another condition or within CASE. TRY_CAST and CASE are sound.
		"int_div":  "CASE WHEN $2 = -1 THEN TRY_CAST(-CAST($1 AS HUGEINT) AS BIGINT) ELSE $1 // $2 END",
		"span_add": "TRY_CAST(CAST($1 AS HUGEINT) + $2 AS BIGINT)", "span_sub": "TRY_CAST(CAST($1 AS HUGEINT) - $2 AS BIGINT)",
		"span_mul": "TRY_CAST(CAST($1 AS HUGEINT) * $2 AS BIGINT)", "span_neg": "TRY_CAST(-CAST($1 AS HUGEINT) AS BIGINT)",
		"int_div_const": "($1 // $2)",
		"int_abs":       "TRY_CAST(abs(CAST($1 AS HUGEINT)) AS BIGINT)",
		"int_mod":       "kql_mod($1, $2)",
		// The remainder by a positive constant, never negative.
		"int_mod_const": "((($1 % $2) + $2) % $2)",
		"real_mod":      "kql_real_mod($1, $2)",
		"bin_long":      "($1 - ((($1 % $2) + $2) % $2))",
		"bin_long_any":  "kql_bin($1, $2)",
		"bin_real":      "kql_bin_real($1, $2)",
		"trunc_long":    "TRY_CAST(trunc($1) AS BIGINT)",
		// A datetime outside 0001..9999 is null.
		"datetime_range": "nullif(greatest(least($1, 2534023008000000000), -621355968000000001), CASE WHEN $1 > 0 THEN 2534023008000000000 ELSE -621355968000000001 END)",

		"lower": "lower($1)", "upper": "upper($1)", "contains": "contains($1, $2)", "starts_with": "starts_with($1, $2)",
		"ends_with": "suffix($1, $2)", "regex": "regexp_matches($1, $2)", "length": "length($1)", "concat": "concat($*)",
		"quote": "to_json($1)::VARCHAR",

		// Stored and computed dynamic values are canonical JSON. Text that a query parses may be anything: it is
		// checked first, because one malformed text would fail the whole query.
		"json_text": "json_extract_string($1, $2)", "json_get": "nullif(CAST(json_extract($1, $2) AS VARCHAR), 'null')",
		"json_text_checked": "json_extract_string(CASE WHEN json_valid($1) THEN $1 END, $2)",
		"json_get_checked":  "nullif(CAST(json_extract(CASE WHEN json_valid($1) THEN $1 END, $2) AS VARCHAR), 'null')",
		"json_root_text":    "json_extract_string($1, '$')",
		"json_elements":     "CAST(json_extract($1, '$[*]') AS VARCHAR[])",

		"count": "count(*)", "count_where": "count(*) FILTER (WHERE $1)", "count_distinct": "count(DISTINCT $1)",
		"sum": "sum($1)", "avg": "avg($1)", "min": "min($1)", "max": "max($1)", "filter": "$1 FILTER (WHERE $2)",
		"any": "any_value($1)", "first": "first($1)", "has_nan": "bool_or(isnan($1))",
		"nan": "CAST('NaN' AS DOUBLE)",
		// The first row of a group, and the number of a row. DuckDB 1.5.0 rewrites a filter row_number() <= n to an
		// aggregate, and then, where columns go unused above, reads one column for another. A remainder that
		// changes nothing keeps it from that; measured, it costs little.
		"first_row": "($1 % 4294967296 = 1)", "number": "($1 % 9223372036854775807)",

		"range": "range($1, $2, $3)",
	},
}

func wrap64(sum string) string {
	return "CAST(((((" + sum + ") + 9223372036854775808::HUGEINT) & 18446744073709551615::HUGEINT) - 9223372036854775808::HUGEINT) AS BIGINT)"
}
