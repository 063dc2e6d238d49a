package dataplane

import (
	"bytes"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestPlanCommand(t *testing.T) {
	for _, tc := range []struct {
		name    string
		command []string
		args    []string
		want    plan
		ok      bool
	}{
		{"nothing", nil, nil, plan{}, false},
		{"sleep", []string{"sleep", "30"}, nil, plan{runFor: 30 * time.Second}, true},
		{"args alone", nil, []string{"sleep", "1m"}, plan{runFor: time.Minute}, true},
		{"forever", []string{"sleep", "infinity"}, nil, plan{runFor: forever}, true},
		{"tail -f", []string{"tail", "-f", "/dev/null"}, nil, plan{runFor: forever}, true},
		{"false", []string{"/bin/false"}, nil, plan{exit: 1}, true},
		{"sequence", []string{"/bin/sh", "-c"}, []string{"echo a; sleep 2 && sleep 3; exit 4"}, plan{runFor: 5 * time.Second, exit: 4}, true},
		{"loop", []string{"sh", "-c", "while true; do date; sleep 5; done"}, nil, plan{runFor: forever}, true},
		{"for", []string{"sh", "-c", "for i in 1 2 3\ndo\n  echo $i\n  sleep $i\ndone"}, nil, plan{runFor: 6 * time.Second}, true},
		{"server", []string{"nginx", "-g", "daemon off;"}, nil, plan{}, false},
		{"pipe", []string{"sh", "-c", "cat x | grep y"}, nil, plan{}, false},
		{"substitution", []string{"sh", "-c", "echo $(date)"}, nil, plan{}, false},
		{"unknown part", []string{"sh", "-c", "echo a; curl x"}, nil, plan{}, false},
		{"endless recursion", []string{"sh", "-c", `X='sh -c "$X"'; export X; sh -c "$X"`}, nil, plan{runFor: forever}, true},
		{"growing word", []string{"sh", "-c", `X=aaaaaaaaaaaaaaaa; while true; do X="$X$X"; done`}, nil, plan{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &corev1.Container{Name: "app", Command: tc.command, Args: tc.args}
			got, ok := planCommand(&corev1.Pod{}, c)
			if ok != tc.ok || got != tc.want {
				t.Errorf("got %+v %v, want %+v %v", got, ok, tc.want, tc.ok)
			}
		})
	}
}

func TestShellScripts(t *testing.T) {
	for script, want := range map[string]string{
		`echo "a  b" 'c $X' d\ e`:                                        "a  b c $X d e\n",
		`X=1; echo $X ${X}2 "$X" '$X' \$X $NONE`:                         "1 12 1 $X $X\n",
		`false; echo $?`:                                                 "1\n",
		`false && echo no || echo yes`:                                   "yes\n",
		`true || echo no; echo end`:                                      "end\n",
		`echo out; echo err >&2; echo x > /dev/null; echo y 2>/dev/null`: "out\nerr\ny\n",
		"# comment\necho a # more\necho b#c":                             "a\nb#c\n",
		`for w in a "b c" $NONE; do echo -n "<$w>"; done`:                "<a><b c><>",
		`echo -e "a\tb"`:                                                 "a\tb\n",
		`sh -c 'echo inner; exit 3'; echo $?`:                            "inner\n3\n",
		`FOO=bar env`:                                                    "FOO=bar\nHOME=/root\nHOSTNAME=p\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
	} {
		var out bytes.Buffer
		pod := &corev1.Pod{}
		pod.Name = "p"
		sh := newShell(pod, &corev1.Container{}, nil)
		sh.steps, sh.out, sh.err = 1000, &out, &out
		if _, err := sh.run([]string{"sh", "-c", script}); err != nil {
			t.Errorf("%q: %v", script, err)
		}
		if out.String() != want {
			t.Errorf("%q: %q, want %q", script, out.String(), want)
		}
	}
}

func FuzzShell(f *testing.F) {
	for _, s := range []string{
		`echo hello; sleep 5; exit 1`, "while true; do date; sleep 1; done", `for i in 1 2; do echo "$i" 'x' \$y ${z}; done`,
		`a=b && false || echo $? >&2`, `sh -c 'sh -c "echo"'`, `X=$X$X`, "echo 'unterminated", "while while true; do do; done", "2>&1", "${", "$", "sleep 1e309 -1 s",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, script string) {
		c := &corev1.Container{Name: "app", Command: []string{"sh", "-c", script}}
		planCommand(&corev1.Pod{}, c)
		sh := newShell(&corev1.Pod{}, c, nil)
		var out bytes.Buffer
		sh.in, sh.out, sh.err, sh.steps = strings.NewReader(script), &out, &out, 500
		if code, err := sh.run([]string{"sh"}); err == nil && (code < 0 || code > 255) {
			t.Errorf("exit code %d", code)
		}
	})
}

func FuzzAnnotations(f *testing.F) {
	f.Add("run-for", "30s")
	f.Add("exit-code", "1,2,0")
	f.Add("crash-loop", "true")
	f.Add("ready-after.app", "never")
	f.Add("cpu-usage", "250m")
	f.Add("start-delay", "1e400")
	f.Fuzz(func(t *testing.T, key, value string) {
		pod := scripted(corev1.RestartPolicyAlways, map[string]string{key: value}, nil)
		l, _ := lifeOf(pod)
		s := next(situation{pod: pod, life: l, now: epoch.Add(time.Hour), admitted: epoch, network: epoch})
		if s.again < 0 {
			t.Errorf("again in %s", s.again)
		}
	})
}
