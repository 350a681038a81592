# Reads one JSON-RPC message and prints three things, a line each: its id as it stands, its method,
# and the member `path` of its parameters (the last, for a path may hold line feeds). Ends with 1 if
# the text is not JSON. A stand-in for jq, where there is none; run it with LC_ALL=C.

BEGIN {
    scalar = "^(-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][-+]?[0-9]+)?|true|false|null)"
    for (code = 1; code < 256; code++) byte[code] = sprintf("%c", code)
    for (code = 0; code < 16; code++) hex[substr("0123456789abcdef", code + 1, 1)] = code
}

{
    text = $0
    at = 1
    value("")
    space()
    if (bad || at <= length(text)) exit 1
    printf "%s\n%s\n%s", found[SUBSEP "id"], found[SUBSEP "method"], found[SUBSEP "params" SUBSEP "path"]
}

function space() { while (substr(text, at, 1) ~ /^[ \t\r]$/) at++ }

# Takes `word` if it comes next.
function take(word) {
    space()
    if (substr(text, at, length(word)) != word) return 0
    at += length(word)
    return 1
}

# Reads a value; strings are kept decoded, but for an id, which is kept as it stands.
function value(where,    start) {
    space()
    start = at
    if (++depth > 128) bad = 1
    else if (take("{")) members(where)
    else if (take("[")) elements(where)
    else if (substr(text, at, 1) == "\"") {
        found[where] = string()
        if (where == SUBSEP "id") found[where] = substr(text, start, at - start)
    } else if (match(substr(text, at), scalar)) {
        found[where] = substr(text, at, RLENGTH)
        at += RLENGTH
    } else bad = 1
    depth--
}

function members(where,    name) {
    if (take("}")) return
    do {
        name = string()
        if (!take(":")) bad = 1
        if (!bad) value(where SUBSEP name)
    } while (!bad && take(","))
    if (!take("}")) bad = 1
}

function elements(where,    number) {
    if (take("]")) return
    do value(where SUBSEP number++); while (!bad && take(","))
    if (!take("]")) bad = 1
}

function string(    out, ch) {
    if (!take("\"")) bad = 1
    while (!bad && (ch = substr(text, at++, 1)) != "\"") {
        if (ch == "") bad = 1
        else if (ch == "\\") out = out escape(substr(text, at++, 1))
        else out = out ch
    }
    return out
}

function escape(ch,    code) {
    if (index("\"\\/", ch)) return ch
    if (ch != "u") return substr("\b\f\n\r\t", index("bfnrt", ch), 1)
    code = unit()
    if (code >= 55296 && code < 56320 && substr(text, at, 2) == "\\u") {
        at += 2
        code = 65536 + (code - 55296) * 1024 + unit() - 56320
    }
    if (code < 128) return byte[code]
    if (code < 2048) return byte[192 + int(code / 64)] byte[128 + code % 64]
    if (code < 65536) return byte[224 + int(code / 4096)] byte[128 + int(code / 64) % 64] byte[128 + code % 64]
    return byte[240 + int(code / 262144)] byte[128 + int(code / 4096) % 64] byte[128 + int(code / 64) % 64] byte[128 + code % 64]
}

# Four hexadecimal digits.
function unit(    code, digit) {
    for (digit = 0; digit < 4; digit++) code = code * 16 + hex[tolower(substr(text, at++, 1))]
    return code
}
