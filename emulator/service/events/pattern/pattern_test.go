package pattern

import (
	"strings"
	"testing"
)

const event = `{"id":"1","source":"aws.ec2","detail-type":"EC2 Instance State-change Notification","resources":["a","b"],
	"detail":{"state":"running","count":3,"price":1.50,"none":null,"on":true,"ip":"10.0.3.7","list":[{"k":"x","n":1},{"k":"y","n":2}],"empty":[],"path":"dir/file.txt"}}`

func TestMatch(t *testing.T) {
	for pattern, want := range map[string]bool{
		`{"source":["aws.ec2"]}`: true,
		`{"source":["aws.s3","aws.ec2"],"detail":{"state":["running"]}}`: true,
		`{"source":["aws.ec2"],"detail":{"state":["stopped"]}}`:          false,
		`{"resources":["b"]}`:                                                              true,
		`{"detail":{"state":[{"prefix":"run"}]}}`:                                          true,
		`{"detail":{"state":[{"prefix":{"equals-ignore-case":"RUN"}}]}}`:                   true,
		`{"detail":{"state":[{"suffix":"ing"}]}}`:                                          true,
		`{"detail":{"state":[{"equals-ignore-case":"RUNNING"}]}}`:                          true,
		`{"detail":{"state":[{"anything-but":["stopped","terminated"]}]}}`:                 true,
		`{"detail":{"state":[{"anything-but":"running"}]}}`:                                false,
		`{"detail":{"state":[{"anything-but":{"prefix":["st","ter"]}}]}}`:                  true,
		`{"detail":{"state":[{"anything-but":{"wildcard":"r*g"}}]}}`:                       false,
		`{"detail":{"nothing":[{"anything-but":"running"}]}}`:                              false,
		`{"detail":{"count":[3.0]}}`:                                                       true,
		`{"detail":{"count":["3"]}}`:                                                       false,
		`{"detail":{"count":[{"numeric":[">",0,"<=",3]}]}}`:                                true,
		`{"detail":{"price":[{"numeric":["=",1.5]}]}}`:                                     true,
		`{"detail":{"price":[{"numeric":["<",1.5]}]}}`:                                     false,
		`{"detail":{"nothing":[{"exists":false}]}}`:                                        true,
		`{"detail":{"nothing":{"deeper":[{"exists":false}]}}}`:                             true,
		`{"detail":{"state":[{"exists":true}]}}`:                                           true,
		`{"detail":{"state":[{"exists":false}]}}`:                                          false,
		`{"detail":{"none":[null]}}`:                                                       true,
		`{"detail":{"on":[true]}}`:                                                         true,
		`{"detail":{"on":["true"]}}`:                                                       false,
		`{"detail":{"ip":[{"cidr":"10.0.0.0/22"}]}}`:                                       true,
		`{"detail":{"ip":[{"cidr":"10.0.0.0/24"}]}}`:                                       false,
		`{"detail":{"path":[{"wildcard":"dir/*.txt"}]}}`:                                   true,
		`{"detail":{"path":[{"wildcard":"*.png"}]}}`:                                       false,
		`{"detail":{"list":{"k":["y"]}}}`:                                                  true,
		`{"detail":{"list":{"k":["z"]}}}`:                                                  false,
		`{"detail.state":["running"]}`:                                                     true,
		`{"$or":[{"source":["none"]},{"detail":{"state":["running"]}}]}`:                   true,
		`{"source":["aws.ec2"],"$or":[{"detail":{"count":[1]}},{"detail":{"count":[2]}}]}`: false,
	} {
		p, err := Parse(pattern)
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
			continue
		}
		if got := p.Match([]byte(event)); got != want {
			t.Errorf("%s matches: %v", pattern, got)
		}
	}
}

// TestReasons: the words are EventBridge's, as localstack's snapshots record them.
func TestReasons(t *testing.T) {
	for pattern, want := range map[string]string{
		`["a"]`:                                  "Filter is not an object",
		`{"a":"b"}`:                              `"a" must be an object or an array`,
		`{"a":[]}`:                               "Empty arrays are not allowed",
		`{"a":[{"EXISTS":true}]}`:                "Unrecognized match type EXISTS",
		`{"a":[{"numeric":5}]}`:                  "Value of numeric must be an array.",
		`{"a":[{"numeric":["<","x"]}]}`:          "Value of < must be numeric",
		`{"a":[{"numeric":[">",0,">",1]}]}`:      "Bad numeric range operator: >",
		`{"a":[{"prefix":1}]}`:                   "prefix match pattern must be a string",
		`{"a":[{"suffix":["x"]}]}`:               "suffix match pattern must be a string",
		`{"a":[{"wildcard":1}]}`:                 "wildcard match pattern must be a string",
		`{"a":[{"wildcard":"x**"}]}`:             "Consecutive wildcard characters at pos 2",
		`{"a":[{"equals-ignore-case":1}]}`:       "equals-ignore-case match pattern must be a string",
		`{"a":[{"anything-but":null}]}`:          "Value of anything-but must be an array or single string/number value.",
		`{"a":[{"anything-but":["x",null]}]}`:    "Inside anything but list, start|null|boolean is not supported.",
		`{"a":[{"anything-but":{"prefix":""}}]}`: "Null prefix/suffix not allowed",
		`{"a":[{"anything-but":{"suffix":1}}]}`:  "prefix/suffix match pattern must be a string",
		`{"a":[{"cidr":"10.0.0.0"}]}`:            "Malformed CIDR, one '/' required",
		`{"a":[{"cidr":"10.0.0.0/x"}]}`:          "Malformed CIDR, mask bits must be an integer",
		`{"a":[{"cidr":"xx.11.xx/8"}]}`:          "Nonstandard IP address: xx.11.xx",
	} {
		_, err := Parse(pattern)
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", pattern, err, want)
		}
	}
	if _, err := Parse(`{"a":` + strings.Repeat("[", 200)); err == nil {
		t.Error("a broken pattern is taken")
	}
}

func FuzzPattern(f *testing.F) {
	f.Add(`{"a":[{"numeric":[">",0,"<=",5]}],"$or":[{"b":[1]},{"c":[{"wildcard":"x*\\*"}]}]}`, `{"a":3,"b":[1,[2]],"c":{"d.e":null}}`)
	f.Add(`{"a.b":[{"anything-but":{"prefix":"x"}}]}`, `{"a":[{"b":"y"}]}`)
	f.Add(`{"a":[{"numeric":["",0,"",1]}]}`, `{"a":1e400}`)
	f.Fuzz(func(_ *testing.T, pattern, event string) {
		if p, err := Parse(pattern); err == nil {
			p.Match([]byte(event))
		}
	})
}
