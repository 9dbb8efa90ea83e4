package function

import "strings"

func windowFunctions() []*Function {
	w := func(name, signatures, doc, example string) *Function {
		return &Function{Name: name, Kind: Window, Signatures: signatures, Doc: doc, Example: example, Built: name}
	}
	return []*Function{
		w("row_number", "start:long?, restart:bool? -> long", "The number of a row, counted from 1.", "range x from 1 to 3 step 1 | extend n = row_number()"),
		w("row_cumsum", "term:number, restart:bool? -> param0", "The sum of a column up to a row.", "range x from 1 to 3 step 1 | extend s = row_cumsum(x)"),
		w("row_rank_dense", "term:notDynamic, restart:bool? -> long", "The rank of a row, equal ones sharing it, without gaps.", "range x from 1 to 3 step 1 | extend r = row_rank_dense(x)"),
		w("row_rank_min", "term:notDynamic, restart:bool? -> long", "The rank of a row, equal ones sharing the least.", "range x from 1 to 3 step 1 | extend r = row_rank_min(x)"),
		w("prev", "column:scalar, offset:long?, default:scalar? -> param0", "The value of a column some rows before.", "range x from 1 to 3 step 1 | extend p = prev(x)"),
		w("next", "column:scalar, offset:long?, default:scalar? -> param0", "The value of a column some rows after.", "range x from 1 to 3 step 1 | extend n = next(x)"),
		{Name: "row_window_session", Kind: Window, Signatures: "expr:datetime, max_from_first:timespan, max_between:timespan, restart:bool? -> param0",
			Doc: "The time at which the session of a row began.", Example: "row_window_session(t, 1h, 5m)"},
	}
}

func contextFunctions() []*Function {
	return []*Function{
		{Name: "column_ifexists", Signatures: "name:string!, default:scalar -> param1", Doc: "A column if there is one of that name, else a value.", Example: `print a = 1 | extend b = column_ifexists("a", 0)`, Built: "column_ifexists"},
		{Name: "columnifexists", Signatures: "name:string!, default:scalar -> param1", Hidden: true, Doc: "Another name of column_ifexists().", Example: `print a = 1 | extend b = columnifexists("a", 0)`, Built: "column_ifexists"},
		{Name: "ingestion_time", Signatures: "-> datetime", Doc: "When a row was stored.", Example: "SecurityAlert | where ingestion_time() > ago(1h)", Built: "ingestion_time"},
	}
}

// boundFunctions are known by their types, so that a query which names one is understood and refused by name.
func boundFunctions() []*Function {
	var list []*Function
	for line := range strings.Lines(known) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		f := &Function{Name: name, Signatures: rest, Doc: "Known, not supported yet.", Example: name + "()"}
		if rest, tuple, ok := strings.Cut(f.Signatures, " => "); ok {
			f.Signatures, f.Tuple = rest, tuple
		}
		if prefix, signature, ok := strings.Cut(rest, "|"); ok {
			f.Signatures = signature
			switch prefix {
			case "first":
				f.Naming = FirstName
			case "name":
				f.Naming = PrefixedName
			}
		}
		list = append(list, f)
	}
	return list
}

const known = `
parse_xml first|xml:stringOrDynamic -> dynamic
parse_user_agent agent:string, look_for:stringOrArray? -> dynamic
geo_info_from_ip_address ip:string -> dynamic
series_fit_2lines series:array -> custom => rsquare:real,split_idx:long,variance:real,rvariance:real,line_fit:dynamic,right_rsquare:real,right_slope:real,right_interception:real,right_variance:real,right_rvariance:real,left_rsquare:real,left_slope:real,left_interception:real,left_variance:real,left_rvariance:real
series_fit_2lines_dynamic series:array -> dynamic
series_fit_poly y:array, x:array?, degree:integer? -> custom => rsquare:real,coefficients:dynamic,variance:real,rvariance:real,poly_fit:dynamic
series_fir first|series:array, filter:array, normalize:bool?, center:bool? -> dynamic
series_outliers first|series:array, kind:string?, ignore:number?, low:number?, high:number?, points:integer? -> dynamic
series_decompose series:array, period:number?, trend:string?, points:integer?, threshold:number? -> custom => baseline:dynamic,seasonal:dynamic,trend:dynamic,residual:dynamic
series_decompose_anomalies series:array, threshold:number?, period:number?, trend:string?, points:integer?, method:string?, seasonality:number? -> custom => ad_flag:dynamic,ad_score:dynamic,baseline:dynamic
series_decompose_forecast series:array, points:integer, period:number?, trend:string?, threshold:number? -> custom => baseline:dynamic,seasonal:dynamic,trend:dynamic,residual:dynamic
series_periods_detect series:array, min:number, max:number, count:long -> custom => periods:dynamic,scores:dynamic
series_periods_validate series:array, period:number+ -> custom => periods:dynamic,scores:dynamic
series_fft series:array, imaginary:array? -> custom => real:dynamic,imag:dynamic
series_ifft series:array, imaginary:array? -> custom => real:dynamic,imag:dynamic
series_seasonal series:array, period:integer?, points:integer? -> dynamic
series_cosine_similarity a:array, b:array, x:real?, y:real? -> real
bin_auto first|value:summable -> param0
treepath name|object:bag -> dynamic
set_equals a:array, b:array -> bool
around value:scalar, center:scalar, delta:scalar -> bool
datetime_local_to_utc from:datetime, timezone:string -> datetime
datetime_utc_to_local from:datetime, timezone:string -> datetime
datetime_list_timezones -> dynamic
base64_decode_toguid text:string -> guid
base64_encode_fromguid guid:guid -> string
base64_encode_fromarray bytes:array -> string
zlib_compress_to_base64_string text:string -> string
zlib_decompress_from_base64_string text:string -> string
gzip_compress_to_base64_string text:string -> string
gzip_decompress_from_base64_string text:string -> string
hash_combine source:scalar+ -> long
hash_many source:notDynamic+ -> long
punycode_to_string text:string -> string
punycode_from_string text:string -> string
punycode_domain_from_string text:string -> string
punycode_domain_to_string text:string -> string
percentile_tdigest name|digest:array, percentile:real -> dynamic; digest:array, percentile:real, type:type -> type
percentiles_array_tdigest digest:array, percentile:any+ -> dynamic
dcount_hll name|hll:array -> long
hll_merge hll:array+ -> dynamic
tdigest_merge digest:array+ -> dynamic
merge_tdigest digest:array+ -> dynamic
percentrank_tdigest digest:array, value:scalar -> real
rank_tdigest digest:array, value:scalar -> real
beta_cdf x:number, alpha:number, beta:number -> real
beta_inv p:number, alpha:number, beta:number -> real
beta_pdf x:number, alpha:number, beta:number -> real
welch_test a:number, b:number, c:number, d:number, e:number, f:number -> real
ipv4_range_to_cidr_list start:string, end:string -> dynamic
convert_angle value:real, from:string, to:string -> real
convert_energy value:real, from:string, to:string -> real
convert_force value:real, from:string, to:string -> real
convert_length value:real, from:string, to:string -> real
convert_mass value:real, from:string, to:string -> real
convert_speed value:real, from:string, to:string -> real
convert_temperature value:real, from:string, to:string -> real
convert_volume value:real, from:string, to:string -> real
current_cluster_endpoint -> string
current_database -> string
current_principal -> string
current_principal_details -> dynamic
current_principal_is_member_of group:stringOrArray+ -> bool
extent_id -> guid
extent_tags -> dynamic
cursor_after cursor:string -> bool
cursor_before_or_at cursor:string -> bool
cursor_current -> string
row_rank term:notDynamic, dense:bool? -> long
estimate_data_size value:any+ -> long
geo_distance_2points a:number, b:number, c:number, d:number, e:any? -> real
geo_point_in_circle a:number, b:number, c:number, d:number, e:number -> bool
geo_point_in_polygon a:number, b:number, polygon:bag -> bool
geo_point_to_geohash a:number, b:number, c:number? -> string
geo_point_to_s2cell a:number, b:number, c:number? -> string
geo_point_to_h3cell a:number, b:number, c:number? -> string
geo_geohash_to_central_point hash:string -> dynamic
geo_geohash_to_polygon hash:string -> dynamic
geo_h3cell_to_central_point cell:string -> dynamic
geo_s2cell_to_central_point cell:string -> dynamic
`
