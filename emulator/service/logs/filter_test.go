package logs

import "testing"

// TestPatterns has the examples of the CloudWatch Logs User Guide and what is
// between them.
func TestPatterns(t *testing.T) {
	audit := `{"kind":"Event","verb":"create","level":"RequestResponse","responseStatus":{"code":201},"user":{"username":"admin","groups":["system:masters","x"]},"objectRef":{"resource":"pods"},"ok":true,"no":null,"ip":"10.1.2.3"}`
	access := `127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534`
	for _, tc := range []struct {
		pattern, message string
		want             bool
	}{
		{"", "anything", true},
		{"ERROR", "[ERROR 400] BAD REQUEST", true},
		{"ERROR", "[error 400]", false},
		{"ERROR ARGUMENTS", "[ERROR 419] MISSING ARGUMENTS", true},
		{"ERROR ARGUMENTS", "[ERROR 400] BAD REQUEST", false},
		{`"INTERNAL SERVER ERROR"`, "[ERROR 500] INTERNAL SERVER ERROR", true},
		{`"INTERNAL SERVER ERROR"`, "INTERNAL ERROR SERVER", false},
		{`"a \"b\""`, `x a "b" y`, true},
		{"?ERROR ?ARGUMENTS", "MISSING ARGUMENTS", true},
		{"?ERROR ?ARGUMENTS", "fine", false},
		{"ERROR -ARGUMENTS", "[ERROR 400] BAD REQUEST", true},
		{"ERROR -ARGUMENTS", "[ERROR 419] MISSING ARGUMENTS", false},
		{`-"BAD REQUEST"`, "[ERROR 400] BAD REQUEST", false},
		{"ERROR ?x", "ERROR", true}, // optional terms do not count beside others
		{"%AUTHORIZED%", "UNAUTHORIZED REQUEST", true},
		{"%4[0-9]{2}%", "code 404", true},
		{"%4[0-9]{2}%", "code 500", false},

		{`{ $.verb = "create" }`, audit, true},
		{`{ $.verb = create }`, audit, true},
		{`{ $.verb = "cre*" }`, audit, true},
		{`{ $.verb = "Create" }`, audit, false},
		{`{ $.verb != "create" }`, audit, false},
		{`{ $.missing != "create" }`, audit, false},
		{`{ $.responseStatus.code = 201 }`, audit, true},
		{`{ $.responseStatus.code >= 400 }`, audit, false},
		{`{ $.responseStatus.code > 200 && $.responseStatus.code < 300 }`, audit, true},
		{`{ ($.verb = "delete" || $.verb = "create") && $.objectRef.resource = "pods" }`, audit, true},
		{`{ $.verb = "delete" || $.verb = "create" && $.objectRef.resource = "nodes" }`, audit, false},
		{`{ $.user.groups[0] = "system:masters" }`, audit, true},
		{`{ $.user.groups[1] = "system:masters" }`, audit, false},
		{`{ $.user.groups[*] = "x" }`, audit, true},
		{`{ $.user["username"] = "admin" }`, audit, true},
		{`{ $.user['username'] = %^adm% }`, audit, true},
		{`{ $.ok IS TRUE }`, audit, true},
		{`{ $.ok IS FALSE }`, audit, false},
		{`{ $.no IS NULL }`, audit, true},
		{`{ $.ok NOT EXISTS }`, audit, false},
		{`{ $.nothing NOT EXISTS }`, audit, true},
		{`{ $.ip = 10.0.0.0/8 }`, audit, true},
		{`{ $.ip = 11.0.0.0/8 }`, audit, false},
		{`{ $.ip = 10.1.* }`, audit, true},
		{`{ $.verb = "create" }`, "not json", false},

		{"[ip, id, user, timestamp, request, status_code = 4*, size]", access, true},
		{"[ip, id, user, timestamp, request, status_code = 5*, size]", access, false},
		{`[ip, user, ..., request = "*html*", status_code = 4*, size > 1000]`, access, true},
		{"[..., size > 2000]", access, false},
		{"[..., status_code = 404 || status_code = 410, size]", access, true},
		{"[w1=ERROR, w2]", "ERROR 401 UNAUTHORIZED REQUEST", true},
		{"[w1!=ERROR && w1!=WARN, w2]", "ERROR 401 UNAUTHORIZED REQUEST", false},
		{"[w1!=ERROR && w1!=WARN, w2]", "INFO all is well", true},
		{"[a, b, c]", "one two", false},
	} {
		match, err := compile(tc.pattern)
		if err != nil {
			t.Errorf("%s: %v", tc.pattern, err)
			continue
		}
		if got := match(tc.message); got != tc.want {
			t.Errorf("%s matches %s: %v, want %v", tc.pattern, tc.message, got, tc.want)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, p := range []string{`ERROR -"x y" ?z %a+%`, `{ ($.a.b[0] = "x*" || $.c NOT EXISTS) && $['d'] > 5 }`, `[a, ..., b = 4* && b != 404]`, `{$.a=`, `[`, `"`} {
		f.Add(p, `{"a":{"b":["x1"]},"d":6} 1 2 404`)
	}
	f.Fuzz(func(_ *testing.T, pattern, message string) {
		if match, err := compile(pattern); err == nil {
			match(message)
		}
	})
}
