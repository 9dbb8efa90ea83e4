package function

import (
	"github.com/otus-project/otus/kql/native"
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

func textFunctions() []*Function {
	return []*Function{
		{Name: "strcat", Signatures: "arg:text+ -> string", Doc: "Joins values as text.", Example: `strcat("a", 1, "b")`, SQL: duck("concat($*)")},
		{Name: "strcat_delim", Signatures: "delimiter:text, arg:text+ -> string", Doc: "Joins values as text with a delimiter between them.",
			Example: `strcat_delim("-", "a", "b")`, SQL: duck("concat_ws($*)")},
		{Name: "strlen", Signatures: "text:stringOrDynamic -> long", Naming: PrefixedName, Doc: "Counts the characters of a text.", Example: `strlen("abc")`,
			SQL: func(c *Call) sqlgen.Expr { c.Null = false; return call("length($1)", c.Text(0)) }},
		{Name: "string_size", Signatures: "text:stringOrDynamic -> long", Naming: PrefixedName, Doc: "Counts the bytes of a text in UTF-8.", Example: `string_size("é")`,
			SQL: func(c *Call) sqlgen.Expr { c.Null = false; return call("strlen($1)", c.Text(0)) }},
		{Name: "tolower", Signatures: "value:text -> string", Doc: "Gives a text in lower case.", Example: `tolower("ABC")`, SQL: duck("lower($1)")},
		{Name: "toupper", Signatures: "value:text -> string", Doc: "Gives a text in upper case.", Example: `toupper("abc")`, SQL: duck("upper($1)")},
		{Name: "reverse", Signatures: "value:text -> string", Doc: "Gives the characters of a text backwards.", Example: `reverse("abc")`, SQL: duck("kql_reverse($1)")},
		{Name: "substring", Signatures: "text:text, start:long, length:long=9223372036854775807 -> string",
			Doc: "Cuts a piece out of a text; a negative start counts from the end.", Example: `substring("abcdef", 2, 3)`, SQL: duckNull("kql_substring($1, $2, $3)")},
		{Name: "indexof", Signatures: "text:text, match:text, start:long=0, length:long=-1, occurrence:long=1 -> long",
			Doc: "Gives the place of a text in another, counted from 0; -1 if it is not there.", Example: `indexof("abcabc", "c")`,
			SQL: duckNull("kql_indexof($1, $2, $3, $4, $5)")},
		{Name: "split", Signatures: "text:text, delimiter:string, index:integer? -> dynamic", Naming: FirstName,
			Doc: "Cuts a text at a delimiter into an array.", Example: `split("a,b,c", ",")`,
			SQL: func(c *Call) sqlgen.Expr {
				e := call("kql_split($1, $2)", c.Args[0].Expr, c.Args[1].Expr)
				c.Null = false
				if len(c.Args) < 3 || c.Args[2].Absent {
					return e
				}
				c.Null = true
				return call("('[' || kql_get_index($1, $2) || ']')", e, c.As(2, schema.Long))
			}},
		{Name: "replace_string", Signatures: "text:string, lookup:string, rewrite:string -> string", Doc: "Replaces every occurrence of a text by another.",
			Example: `replace_string("a-b", "-", "+")`, SQL: duck("replace($1, $2, $3)")},
		{Name: "replace_strings", Signatures: "text:string, lookups:array, rewrites:array -> string", Doc: "Replaces several texts, one after the other.",
			Example: `replace_strings("a b", dynamic(["a","b"]), dynamic(["x","y"]))`, SQL: duckNull("kql_replace_strings($1, $2, $3)")},
		{Name: "strcmp", Signatures: "a:text, b:text -> long", Doc: "Compares two texts: -1, 0 or 1.", Example: `strcmp("a", "b")`, SQL: duck("kql_strcmp($1, $2)")},
		{Name: "strrep", Signatures: "value:text, multiplier:long, delimiter:text='' -> string", Doc: "Repeats a text.", Example: `strrep("ab", 2, "-")`,
			SQL: duckNull("kql_strrep($1, $2, $3)")},
		{Name: "translate", Signatures: "from:string, to:string, text:string -> string", Doc: "Replaces characters by others of the same position.",
			Example: `translate("abc", "xyz", "aabb")`, SQL: duck("kql_translate($1, $2, $3)")},
		{Name: "has_any_index", Signatures: "text:stringOrDynamic, values:array -> long", Doc: "Gives the place in an array of the first term that a text has; -1 if none.",
			Example: `has_any_index("a b", dynamic(["b"]))`, SQL: func(c *Call) sqlgen.Expr { return call("kql_has_any_index($1, $2)", c.Text(0), c.Args[1].Expr) }},
		{Name: "unicode_codepoints_from_string", Signatures: "value:text -> dynamic", Doc: "Gives the code points of a text.", Example: `unicode_codepoints_from_string("ab")`,
			SQL: duck("kql_codepoints($1)")},
		{Name: "unicode_codepoints_to_string", Signatures: "value:integerOrArray+ -> string", Doc: "Makes a text of code points.", Example: `unicode_codepoints_to_string(72, 105)`,
			SQL: func(c *Call) sqlgen.Expr { return call("kql_from_codepoints($1)", c.List(0)) }},
		{Name: "make_string", Signatures: "value:integerOrArray+ -> string", Hidden: true, Doc: "Another name of unicode_codepoints_to_string().", Example: `make_string(72, 105)`,
			SQL: func(c *Call) sqlgen.Expr { return call("kql_from_codepoints($1)", c.List(0)) }},
		{Name: "isascii", Signatures: "value:text -> bool", Doc: "Tells whether a text has only ASCII characters.", Example: `isascii("abc")`, SQL: duck("kql_isascii($1)")},
		{Name: "isutf8", Signatures: "value:text -> bool", Doc: "Tells whether a text is valid UTF-8.", Example: `isutf8("abc")`,
			SQL: func(c *Call) sqlgen.Expr { c.Null = false; return call("($1 IS NOT NULL)", c.Args[0].Expr) }},
		{Name: "isempty", Signatures: "value:scalar -> bool", Doc: "Tells whether a value is null or the empty text.", Example: `isempty("")`,
			SQL: func(c *Call) sqlgen.Expr { return empty(c, false) }},
		{Name: "isnotempty", Signatures: "value:scalar -> bool", Doc: "Tells whether a value is neither null nor the empty text.", Example: `isnotempty("a")`,
			SQL: func(c *Call) sqlgen.Expr { return empty(c, true) }},
		{Name: "notempty", Signatures: "value:scalar -> bool", Hidden: true, Doc: "Another name of isnotempty().", Example: `notempty("a")`,
			SQL: func(c *Call) sqlgen.Expr { return empty(c, true) }},
	}
}

func empty(c *Call, not bool) sqlgen.Expr {
	c.Null = false
	a := c.Args[0]
	switch a.Type {
	case schema.String:
		if not {
			return call("($1 <> '')", a.Expr)
		}
		return call("($1 = '')", a.Expr)
	case schema.Dynamic:
		if not {
			return call("(coalesce($1, '\"\"') <> '\"\"')", a.Expr)
		}
		return call("(coalesce($1, '\"\"') = '\"\"')", a.Expr)
	}
	if not {
		return c.Op("is_not_null", a.Expr)
	}
	return c.Op("is_null", a.Expr)
}

// pattern checks a constant regular expression and gives it with the classes that Kusto means.
func (c *Call) pattern(i int) (sqlgen.Expr, bool) {
	s, ok := c.String(i)
	if !ok {
		return c.Args[i].Expr, false
	}
	if _, err := native.Regexp(s); err != nil {
		return c.Fail(i, "the regular expression is not valid: "+err.Error()), false
	}
	return c.Args[i].Expr, true
}

func patternFunctions() []*Function {
	native3 := func(template string, pattern int) func(*Call) sqlgen.Expr {
		return func(c *Call) sqlgen.Expr {
			c.pattern(pattern)
			args := make([]sqlgen.Expr, len(c.Args))
			for i, a := range c.Args {
				args[i] = a.Expr
			}
			return call(template, args...)
		}
	}
	trim := func(start, end string) func(*Call) sqlgen.Expr {
		return native3("kql_trim($1, "+start+", "+end+", $2)", 0)
	}
	replace := func(text, pattern, rewrite int) func(*Call) sqlgen.Expr {
		return func(c *Call) sqlgen.Expr {
			c.pattern(pattern)
			return call("kql_replace_regex($1, $2, $3)", c.Args[text].Expr, c.Args[pattern].Expr, c.Args[rewrite].Expr)
		}
	}
	extractAll := func(c *Call) sqlgen.Expr {
		c.pattern(0)
		if len(c.Args) == 2 {
			return call("kql_extract_all($1, '', $2)", c.Args[0].Expr, c.Args[1].Expr)
		}
		return call("kql_extract_all($1, $2, $3)", c.Args[0].Expr, c.Args[1].Expr, c.Args[2].Expr)
	}
	extractAllSignatures := "regex:string!, text:string -> dynamic; regex:string!, groups:array, text:string -> dynamic"
	return []*Function{
		{Name: "extract", Signatures: "regex:string!, group:long, text:string -> string; regex:string!, group:long, text:string, type:type -> type",
			Doc: "Gives what a group of a regular expression matches in a text.", Example: `extract("id=([0-9]+)", 1, "id=42")`, SQL: extract},
		{Name: "extract_all", Signatures: extractAllSignatures, Doc: "Gives all matches of a regular expression as an array.", Example: `extract_all("([0-9]+)", "1 and 2")`, SQL: extractAll},
		{Name: "extractall", Signatures: extractAllSignatures, Hidden: true, Doc: "Another name of extract_all().", Example: `extractall("([0-9]+)", "1 and 2")`, SQL: extractAll},
		{Name: "replace_regex", Signatures: "text:string, regex:string!, rewrite:string -> string", Doc: `Replaces what a regular expression matches; \1 stands for its first group.`,
			Example: `replace_regex("a1b2", "[0-9]", "#")`, SQL: replace(0, 1, 2)},
		{Name: "replace", Signatures: "regex:string!, rewrite:string, text:string -> string", Hidden: true, Doc: "The old form of replace_regex().",
			Example: `replace("[0-9]", "#", "a1b2")`, SQL: replace(2, 0, 1)},
		{Name: "trim", Signatures: "regex:string!, text:string -> string", Doc: "Takes one match of a regular expression off both ends of a text.", Example: `trim(" +", "  a  ")`, SQL: trim("TRUE", "TRUE")},
		{Name: "trim_start", Signatures: "regex:string!, text:string -> string", Doc: "Takes one match of a regular expression off the beginning of a text.", Example: `trim_start(" +", "  a")`, SQL: trim("TRUE", "FALSE")},
		{Name: "trim_end", Signatures: "regex:string!, text:string -> string", Doc: "Takes one match of a regular expression off the end of a text.", Example: `trim_end(" +", "a  ")`, SQL: trim("FALSE", "TRUE")},
		{Name: "countof", Signatures: "text:string, search:string, kind:string? -> long", Doc: "Counts how often a text, or with kind regex a pattern, occurs in a text.",
			Example: `countof("aaa", "a")`, SQL: func(c *Call) sqlgen.Expr {
				c.Null = false
				if len(c.Args) > 2 && !c.Args[2].Absent {
					switch kind, _ := c.String(2); kind {
					case "regex":
						c.pattern(1)
						return call("kql_countof_regex($1, $2)", c.Args[0].Expr, c.Args[1].Expr)
					case "normal":
					default:
						return c.Fail(2, `the kind is "normal" or "regex"`)
					}
				}
				return call("kql_countof($1, $2)", c.Args[0].Expr, c.Args[1].Expr)
			}},
		{Name: "indexof_regex", Signatures: "text:text, regex:string!, start:long=0, length:long=-1, occurrence:long=1 -> long",
			Doc: "Gives the place of a match of a regular expression, counted from 0; -1 if there is none.", Example: `indexof_regex("abc", "b.")`,
			SQL: native3("kql_indexof_regex($1, $2, $3, $4, $5)", 1)},
		{Name: "regex_quote", Signatures: "text:text -> string", Doc: "Escapes a text so that a regular expression matches it as it stands.", Example: `regex_quote("a.b")`, SQL: duck("kql_regex_quote($1)")},
	}
}

// extract uses the store's own engine for constant patterns.
func extract(c *Call) sqlgen.Expr {
	text := c.Args[2].Expr
	var e sqlgen.Expr
	pattern, known := c.String(0)
	group, knownGroup := c.Integer(1)
	if known && knownGroup {
		re, err := native.Regexp(pattern)
		switch {
		case err != nil:
			return c.Fail(0, "the regular expression is not valid: "+err.Error())
		case group < 0 || group > int64(re.NumSubexp()):
			return c.Fail(1, "the regular expression has no such group")
		case group > 9:
			e = call("kql_extract($1, $2, $3)", c.Args[0].Expr, c.Args[1].Expr, text)
		default:
			e = call("regexp_extract($1, $2, $3)", text, sqlgen.Param{Value: re.String(), Kind: sqlgen.Text}, sqlgen.Call{Template: native.FormatLong(group)})
		}
	} else {
		e = call("kql_extract($1, $2, $3)", c.Args[0].Expr, c.Args[1].Expr, text)
	}
	if c.Result == schema.String {
		c.Null = !known
		return e
	}
	typed := Convert(c.Dialect, Arg{Expr: e, Type: schema.String}, c.Result)
	if typed == nil {
		return c.Refuse("extract() cannot give a " + c.Result.String())
	}
	return typed
}
