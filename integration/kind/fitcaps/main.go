// Command fitcaps is an OCI runtime for machines that may not hold every capability:
// there runc refuses `docker run --privileged`, which kind cannot do without. It takes
// out of a container's configuration the capabilities that are missing here and
// becomes runc. dockerd --add-runtime fitcaps=PATH --default-runtime fitcaps
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// names are Linux's capabilities in the order of their bits, capabilities(7).
var names = []string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
	"NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE",
	"SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE",
	"AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fitcaps:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	have, err := bounding(string(status))
	if err != nil {
		return err
	}
	if file, path := document(args); file != "" {
		if err := fit(file, path, have); err != nil && !errors.Is(err, fs.ErrNotExist) { // which runc says better
			return err
		}
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		return err
	}
	return syscall.Exec(runc, append([]string{"runc"}, args...), os.Environ())
}

// bounding reads the capabilities that a process may ever hold.
func bounding(status string) (map[string]bool, error) {
	for line := range strings.Lines(status) {
		hex, ok := strings.CutPrefix(line, "CapBnd:")
		if !ok {
			continue
		}
		bits, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		if err != nil {
			return nil, err
		}
		have := map[string]bool{}
		for i, n := range names {
			have["CAP_"+n] = bits>>i&1 == 1
		}
		return have, nil
	}
	return nil, errors.New("/proc/self/status has no CapBnd")
}

// document names the file in which runc will find capabilities, and where in it.
func document(args []string) (file string, path []string) {
	command, bundle, process := "", ".", ""
	for i, a := range args {
		name, value, joined := strings.Cut(a, "=")
		if !joined && i+1 < len(args) {
			value = args[i+1]
		}
		switch name {
		case "create", "run", "exec":
			if command == "" {
				command = name
			}
		case "--bundle", "-b":
			bundle = value
		case "--process", "-p":
			process = value
		}
	}
	switch command {
	case "create", "run":
		return filepath.Join(bundle, "config.json"), []string{"process"}
	case "exec":
		return process, nil
	}
	return "", nil
}

func fit(file string, path []string, have map[string]bool) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var doc map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber() // limits are of 64 bits
	if err := d.Decode(&doc); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	at := doc
	for _, p := range path {
		at, _ = at[p].(map[string]any)
	}
	sets, _ := at["capabilities"].(map[string]any)
	for name, set := range sets {
		list, _ := set.([]any)
		sets[name] = slices.DeleteFunc(list, func(c any) bool { s, _ := c.(string); return !have[s] })
	}
	raw, err = json.Marshal(doc)
	if err != nil {
		return err
	}
	return os.WriteFile(file, raw, 0o600)
}
