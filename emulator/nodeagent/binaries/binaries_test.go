package binaries

import (
	"bytes"
	"debug/elf"
	"errors"
	"strings"
	"testing"
)

// TestAgent: a bare clone says how to come by the agents; with them they are what they
// are for.
func TestAgent(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		program, err := Agent(arch)
		if errors.Is(err, ErrMissing) {
			if !strings.Contains(err.Error(), "make agents") {
				t.Error(err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(program))
		if err != nil || f.Machine != machine {
			t.Fatalf("%s: %v, %v", arch, f, err)
		}
		if libs, err := f.ImportedLibraries(); err != nil || len(libs) > 0 {
			t.Errorf("%s is linked to %v, %v: images have no libraries", arch, libs, err)
		}
	}
	if _, err := Agent("riscv64"); err == nil || !strings.Contains(err.Error(), "riscv64") {
		t.Errorf("another architecture: %v", err)
	}
}
