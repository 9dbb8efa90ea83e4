package function

import (
	"github.com/otus-project/otus/kql/schema"
	"github.com/otus-project/otus/kql/sqlgen"
)

func logicFunctions() []*Function {
	isNull := func(not bool) func(*Call) sqlgen.Expr {
		return func(c *Call) sqlgen.Expr {
			c.Null = false
			op := "is_null"
			if not {
				op = "is_not_null"
			}
			if c.Args[0].Type == schema.String { // a string is never null
				return c.Op(op, Constant(schema.Long, int64(0)))
			}
			return c.Op(op, c.Args[0].Expr)
		}
	}
	choice := "condition:bool, then:commonOrDynamic, else:commonOrDynamic -> commonNonDynamic"
	return []*Function{
		{Name: "iff", Signatures: choice, Doc: "The first value if a condition holds, else the second.", Example: `iff(1 > 0, "yes", "no")`, SQL: iff},
		{Name: "iif", Signatures: choice, Doc: "Another name of iff().", Example: `iif(1 > 0, "yes", "no")`, SQL: iff},
		{Name: "case", Signatures: "arg:any+ -> custom", Doc: "The value after the first condition that holds, else the last.", Example: `case(1 > 2, "a", 2 > 1, "b", "c")`, SQL: caseOf},
		{Name: "coalesce", Signatures: "arg:common+ -> common", Doc: "The first of its arguments that is neither null nor the empty text.", Example: `coalesce("", "a")`, SQL: coalesce},
		{Name: "not", Signatures: "condition:bool -> bool", Doc: "True if a condition does not hold.", Example: "not(1 > 2)", SQL: func(c *Call) sqlgen.Expr {
			c.Null = c.Args[0].Null
			return c.Op("not", c.As(0, schema.Bool))
		}},
		{Name: "isnull", Signatures: "value:scalar -> bool", Doc: "Tells whether a value is null; a text never is.", Example: "isnull(int(null))", SQL: isNull(false)},
		{Name: "isnotnull", Signatures: "value:scalar -> bool", Doc: "Tells whether a value is not null.", Example: "isnotnull(1)", SQL: isNull(true)},
		{Name: "notnull", Signatures: "value:scalar -> bool", Hidden: true, Doc: "Another name of isnotnull().", Example: "notnull(1)", SQL: isNull(true)},
		{Name: "assert", Signatures: "condition:bool, message:string! -> bool", Doc: "Ends the query with a message unless a constant condition holds.", Example: `assert(1 > 0, "one is positive")`, SQL: func(c *Call) sqlgen.Expr {
			c.Null = false
			return call("CASE WHEN $1 THEN TRUE ELSE error('assertion failed: ' || $2) END", c.As(0, schema.Bool), c.Args[1].Expr)
		}},
	}
}

func iff(c *Call) sqlgen.Expr {
	yes, no := c.As(1, c.Result), c.As(2, c.Result)
	if yes == nil || no == nil {
		return c.Refuse(c.Name + "() with values of types " + c.Args[1].Type.String() + " and " + c.Args[2].Type.String())
	}
	c.Null = c.Args[1].Null || c.Args[2].Null || c.Args[1].Type != c.Result || c.Args[2].Type != c.Result
	return sqlgen.Case{When: []sqlgen.Expr{c.As(0, schema.Bool)}, Then: []sqlgen.Expr{yes}, Else: no}
}

func caseOf(c *Call) sqlgen.Expr {
	n := len(c.Args)
	if n < 3 || n%2 == 0 {
		return c.Fail(n-1, "case() takes conditions and values in turn, and a last value")
	}
	e := sqlgen.Case{}
	c.Null = false
	value := func(i int) sqlgen.Expr {
		v := c.As(i, c.Result)
		if v == nil {
			c.Refusal = "case() with values of different types"
			v = Nothing
		}
		c.Null = c.Null || c.Args[i].Null || c.Args[i].Type != c.Result
		return v
	}
	for i := 0; i+1 < n; i += 2 {
		e.When = append(e.When, c.As(i, schema.Bool))
		e.Then = append(e.Then, value(i+1))
	}
	e.Else = value(n - 1)
	return e
}

// coalesce passes over empty texts, which are what a string has for null.
func coalesce(c *Call) sqlgen.Expr {
	args := make([]sqlgen.Expr, len(c.Args))
	c.Null = true
	for i, a := range c.Args {
		args[i] = c.As(i, c.Result)
		if args[i] == nil {
			return c.Refuse("coalesce() of a " + a.Type.String() + " and a " + c.Result.String())
		}
		if c.Result == schema.String && i < len(c.Args)-1 {
			args[i] = call("nullif($1, '')", args[i])
		}
		c.Null = c.Null && a.Null
	}
	if c.Result == schema.String {
		c.Null = false
	}
	return call("coalesce($*)", args...)
}

func addressFunctions() []*Function {
	prefix := "a:string, b:string, prefix:long=32 -> "
	prefix6 := "a:string, b:string, prefix:long=128 -> "
	ranges := "ip:stringOrDynamic, ranges:array -> bool; ip:stringOrDynamic, range:string+ -> bool"
	any := func(template string) func(*Call) sqlgen.Expr {
		return func(c *Call) sqlgen.Expr {
			c.Null = true
			if len(c.Args) == 2 && c.Args[1].Type == schema.Dynamic {
				return call(template, c.Text(0), c.Args[1].Expr)
			}
			return call(template, c.Text(0), c.List(1))
		}
	}
	never := func(f func(*Call) sqlgen.Expr) func(*Call) sqlgen.Expr {
		return func(c *Call) sqlgen.Expr {
			e := f(c)
			c.Null = true
			return e
		}
	}
	return []*Function{
		{Name: "ipv4_is_private", Signatures: "ip:string -> bool", Doc: "Tells whether an IPv4 address belongs to a private network; null if it is none.", Example: `ipv4_is_private("10.1.2.3")`, SQL: duckNull("kql_ipv4_is_private($1)")},
		{Name: "ipv4_is_in_range", Signatures: "ip:string, range:string -> bool", Doc: "Tells whether an IPv4 address lies in a network.", Example: `ipv4_is_in_range("10.1.2.3", "10.0.0.0/8")`, SQL: duckNull("kql_ipv4_is_in_range($1, $2)")},
		{Name: "ipv4_is_in_any_range", Signatures: ranges, Doc: "Tells whether an IPv4 address lies in one of several networks.", Example: `ipv4_is_in_any_range("10.1.2.3", "10.0.0.0/8", "192.168.0.0/16")`, SQL: any("kql_ipv4_is_in_any_range($1, $2)")},
		{Name: "ipv4_is_match", Signatures: prefix + "bool", Doc: "Tells whether two IPv4 addresses are equal under the shorter of their prefixes.", Example: `ipv4_is_match("10.1.2.3/24", "10.1.2.9")`, SQL: duckNull("(kql_ipv4_compare($1, $2, $3) = 0)")},
		{Name: "ipv4_compare", Signatures: prefix + "long", Doc: "Compares two IPv4 addresses under the shorter of their prefixes: -1, 0 or 1.", Example: `ipv4_compare("10.1.2.3", "10.1.2.4")`, SQL: duckNull("kql_ipv4_compare($1, $2, $3)")},
		{Name: "ipv4_netmask_suffix", Signatures: "ip:string -> long", Doc: "The prefix length of an IPv4 address.", Example: `ipv4_netmask_suffix("10.0.0.0/8")`, SQL: duckNull("kql_ipv4_netmask_suffix($1)")},
		{Name: "ipv6_is_match", Signatures: prefix6 + "bool", Doc: "Tells whether two IPv6 or IPv4 addresses are equal under the shorter of their prefixes.", Example: `ipv6_is_match("fe80::1", "fe80::1")`, SQL: duckNull("(kql_ipv6_compare($1, $2, $3) = 0)")},
		{Name: "ipv6_compare", Signatures: prefix6 + "long", Doc: "Compares two IPv6 or IPv4 addresses under the shorter of their prefixes.", Example: `ipv6_compare("fe80::1", "fe80::2")`, SQL: duckNull("kql_ipv6_compare($1, $2, $3)")},
		{Name: "ipv6_is_in_range", Signatures: "ip:string, range:string -> bool", Doc: "Tells whether an IPv6 address lies in a network.", Example: `ipv6_is_in_range("fe80::1", "fe80::/10")`, SQL: duckNull("kql_ipv6_is_in_range($1, $2)")},
		{Name: "ipv6_is_in_any_range", Signatures: ranges, Doc: "Tells whether an IPv6 address lies in one of several networks.", Example: `ipv6_is_in_any_range("fe80::1", "fe80::/10")`, SQL: any("kql_ipv6_is_in_any_range($1, $2)")},
		{Name: "parse_ipv4", Signatures: "ip:string -> long", Doc: "An IPv4 address as a number; its prefix is applied.", Example: `parse_ipv4("10.0.0.1")`, SQL: duckNull("kql_parse_ipv4($1)")},
		{Name: "parse_ipv4_mask", Signatures: "ip:string, prefix:long -> long", Doc: "An IPv4 address as a number under a prefix.", Example: `parse_ipv4_mask("10.0.0.1", 24)`, SQL: duckNull("kql_parse_ipv4_mask($1, $2)")},
		{Name: "parse_ipv6", Signatures: "ip:string -> string", Doc: "An IPv6 or IPv4 address in full.", Example: `parse_ipv6("::1")`, SQL: never(duck("kql_parse_ipv6($1, 128)"))},
		{Name: "parse_ipv6_mask", Signatures: "ip:string, prefix:long -> string", Doc: "An IPv6 or IPv4 address in full under a prefix.", Example: `parse_ipv6_mask("fe80::1", 64)`, SQL: duckNull("kql_parse_ipv6($1, $2)")},
		{Name: "format_ipv4", Signatures: "ip:text, prefix:long=32 -> string", Doc: "Writes an IPv4 address, given as text or number, under a prefix.", Example: `format_ipv4("10.0.0.1", 24)`, SQL: duckNull("kql_format_ipv4($1, $2)")},
		{Name: "format_ipv4_mask", Signatures: "ip:text, prefix:long=32 -> string", Doc: "Writes an IPv4 address under a prefix, with the prefix.", Example: `format_ipv4_mask("10.0.0.1", 24)`, SQL: duckNull("kql_format_ipv4_mask($1, $2)")},
		{Name: "has_ipv4", Signatures: "text:stringOrDynamic, ip:string -> bool", Doc: "Tells whether a text holds an IPv4 address that nothing touches.", Example: `has_ipv4("from 10.0.0.1 on", "10.0.0.1")`, SQL: func(c *Call) sqlgen.Expr {
			c.Null = false
			return call("kql_has_ipv4($1, $2, FALSE)", c.Text(0), c.Text(1))
		}},
		{Name: "has_ipv4_prefix", Signatures: "text:stringOrDynamic, prefix:string -> bool", Doc: "Tells whether a text holds an IPv4 address with a prefix.", Example: `has_ipv4_prefix("from 10.0.0.1 on", "10.0.")`, SQL: func(c *Call) sqlgen.Expr {
			c.Null = false
			return call("kql_has_ipv4($1, $2, TRUE)", c.Text(0), c.Text(1))
		}},
		{Name: "has_any_ipv4", Signatures: ranges, Doc: "Tells whether a text holds one of several IPv4 addresses.", Example: `has_any_ipv4("from 10.0.0.1 on", "10.0.0.1")`, SQL: any("kql_has_any_ipv4($1, $2, FALSE)")},
		{Name: "has_any_ipv4_prefix", Signatures: ranges, Doc: "Tells whether a text holds an IPv4 address with one of several prefixes.", Example: `has_any_ipv4_prefix("from 10.0.0.1 on", "10.0.")`, SQL: any("kql_has_any_ipv4($1, $2, TRUE)")},
	}
}

func codingFunctions() []*Function {
	text := func(name, native, doc, example string, hidden bool) *Function {
		return &Function{Name: name, Signatures: "text:string -> string", Doc: doc, Example: example, Hidden: hidden, SQL: duckNull("kql_" + native + "($1)")}
	}
	hashed := func(name string) *Function {
		return &Function{Name: name, Signatures: "source:notDynamic -> string", Doc: "The digest of a value, in hexadecimal.", Example: name + `("a")`, SQL: func(c *Call) sqlgen.Expr {
			if c.Args[0].Type != schema.String && c.Args[0].Type != schema.DateTime {
				return c.Refuse(name + "() of a " + c.Args[0].Type.String())
			}
			c.Null = false
			return call("kql_"+name+"($1)", c.Text(0))
		}}
	}
	hash := func(c *Call) sqlgen.Expr {
		var e sqlgen.Expr
		switch c.Args[0].Type {
		case schema.String:
			e = call("kql_hash($1)", c.Args[0].Expr)
		case schema.Long, schema.Int, schema.DateTime:
			e = call("kql_hash_long($1)", c.As(0, schema.Long))
		default:
			return c.Refuse(c.Name + "() of a " + c.Args[0].Type.String())
		}
		if len(c.Args) > 1 && !c.Args[1].Absent {
			return call("kql_mod($1, $2)", e, c.As(1, schema.Long))
		}
		return e
	}
	return []*Function{
		text("base64_encode_tostring", "base64_encode", "Encodes a text in Base64.", `base64_encode_tostring("a")`, false),
		text("base64_encodestring", "base64_encode", "Another name of base64_encode_tostring().", `base64_encodestring("a")`, true),
		text("base64_decode_tostring", "base64_decode", "Decodes Base64 to text.", `base64_decode_tostring("YQ==")`, false),
		text("base64_decodestring", "base64_decode", "Another name of base64_decode_tostring().", `base64_decodestring("YQ==")`, true),
		{Name: "base64_decode_toarray", Signatures: "text:string -> dynamic", Doc: "Decodes Base64 to an array of bytes.", Example: `base64_decode_toarray("YQ==")`, SQL: duckNull("kql_base64_decode_array($1)")},
		text("url_encode", "url_encode", "Encodes a text for a URL, blanks as plus signs.", `url_encode("a b")`, false),
		text("url_encode_component", "url_encode_component", "Encodes a text for a URL.", `url_encode_component("a b")`, false),
		text("url_decode", "url_decode", "Decodes a text of a URL.", `url_decode("a%20b")`, false),
		hashed("hash_md5"), hashed("hash_sha1"), hashed("hash_sha256"),
		{Name: "hash", Signatures: "source:notDynamic, mod:integer? -> long", Doc: "A hash of a value.", Example: `hash("a")`, SQL: hash},
		{Name: "hash_xxhash64", Signatures: "source:notDynamic, mod:integer? -> long", Doc: "The xxHash64 of a value.", Example: `hash_xxhash64("a")`, SQL: hash},
		{Name: "tohex", Signatures: "value:long, length:long=0 -> string", Naming: FirstName, Doc: "A number in hexadecimal.", Example: "tohex(255)", SQL: duckNull("kql_tohex($1, $2)")},
		{Name: "new_guid", Signatures: "-> guid", Doc: "A random GUID.", Example: "new_guid()", SQL: duck("CAST(gen_random_uuid() AS VARCHAR)")},
		{Name: "parse_url", Signatures: "url:string -> dynamic", Doc: "Takes a URL apart.", Example: `parse_url("https://a.example/b?c=d")`, SQL: duck("kql_parse_url($1)")},
		{Name: "parseurl", Signatures: "url:string -> dynamic", Hidden: true, Doc: "Another name of parse_url().", Example: `parseurl("https://a.example/b?c=d")`, SQL: duck("kql_parse_url($1)")},
		{Name: "parse_urlquery", Signatures: "query:string -> dynamic", Doc: "Takes the query of a URL apart.", Example: `parse_urlquery("a=1&b=2")`, SQL: duck("kql_parse_urlquery($1)")},
		{Name: "parse_path", Signatures: "path:string -> dynamic", Doc: "Takes a file's path apart.", Example: `parse_path("C:\\a\\b.txt")`, SQL: duck("kql_parse_path($1)")},
		{Name: "parse_csv", Signatures: "text:stringOrDynamic -> dynamic", Naming: FirstName, Doc: "Takes a line of comma-separated values apart.", Example: `parse_csv("a,b")`, SQL: func(c *Call) sqlgen.Expr {
			c.Null = false
			return call("kql_parse_csv($1)", c.Text(0))
		}},
		{Name: "parse_version", Signatures: "version:string -> decimal", Doc: "A version as a number that sorts as the version does.", Example: `parse_version("1.2.3")`, SQL: duckNull("kql_parse_version($1)")},
		{Name: "parse_command_line", Signatures: "command:text, parser:string -> dynamic", Doc: "Takes a Windows command line apart.", Example: `parse_command_line("a \"b c\"", "windows")`, SQL: duck("kql_parse_command_line($1)")},
		{Name: "format_bytes", Signatures: "size:real, precision:long=0, unit:string='' -> string", Naming: FirstName, Doc: "Writes a number of bytes with a unit.", Example: "format_bytes(10332)", SQL: duckNull("kql_format_bytes($1, $2, $3)")},
		{Name: "extract_json", Signatures: extractJSONSignatures, Doc: "Gives what a path finds in JSON text.", Example: `extract_json("$.a", "{\"a\":1}")`, SQL: extractJSON},
		{Name: "extractjson", Signatures: extractJSONSignatures, Hidden: true, Doc: "Another name of extract_json().", Example: `extractjson("$.a", "{\"a\":1}")`, SQL: extractJSON},
	}
}

const extractJSONSignatures = "path:string!, text:string -> string; path:string!, text:string, type:type -> type"

func extractJSON(c *Call) sqlgen.Expr {
	e := call("coalesce(json_extract_string(CASE WHEN json_valid($1) THEN $1 END, $2), '')", c.Args[1].Expr, c.Args[0].Expr)
	c.Null = false
	if c.Result == schema.String {
		return e
	}
	c.Null = true
	typed := Convert(c.Dialect, Arg{Expr: e, Type: schema.String}, c.Result)
	if typed == nil {
		return c.Refuse("extract_json() cannot give a " + c.Result.String())
	}
	return typed
}
