// Package terraform holds the configurations that integration tests and benchmarks
// apply, and sets Terraform up for them without a network.
package terraform

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

//go:embed plain community imported failures
var configurations embed.FS

// ErrMissing tells that terraform or its AWS provider is not on this machine.
var ErrMissing = errors.New("terraform with the provider hashicorp/aws 5 is needed")

// places are where a copy of the AWS provider may lie: said by the user, or where
// Terraform itself looks and packagers put them.
func places() []string {
	home, _ := os.UserHomeDir() // "" is only a place without anything
	return []string{
		os.Getenv("EKSLOCAL_TF_PLUGINS"), os.Getenv("TF_PLUGIN_CACHE_DIR"),
		filepath.Join(home, ".terraform.d", "plugins"), filepath.Join(home, ".terraform.d", "plugin-cache"),
		filepath.Join(home, ".local", "share", "terraform", "plugins"),
		"/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins", "/opt/terraform/plugins", "/opt/tf-plugins",
	}
}

// mirror returns the directory that has the AWS provider for this machine, "" if
// there is none.
func mirror() string {
	platform := runtime.GOOS + "_" + runtime.GOARCH
	for _, dir := range places() {
		if dir == "" {
			continue
		}
		at := filepath.Join(dir, "registry.terraform.io", "hashicorp", "aws")
		for _, pattern := range []string{filepath.Join(at, "5.*", platform), filepath.Join(at, "terraform-provider-aws_5.*_"+platform+".zip")} {
			if found, _ := filepath.Glob(pattern); len(found) > 0 {
				return dir
			}
		}
	}
	return ""
}

// Workspace is a copy of a configuration in a directory with a state of its own.
type Workspace struct {
	Dir     string
	program string
	env     []string
}

// New copies a configuration below dir for the account that an access key belongs
// to. Nothing is downloaded: without a provider on the machine it is ErrMissing.
func New(dir, config, endpoint, accessKey string) (*Workspace, error) {
	program, err := exec.LookPath("terraform")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	}
	plugins := mirror()
	if plugins == "" {
		return nil, fmt.Errorf("%w: it is in none of Terraform's usual places. `terraform providers mirror DIR` in integration/terraform/plain gets it, EKSLOCAL_TF_PLUGINS=DIR says where it is", ErrMissing)
	}
	w := &Workspace{Dir: filepath.Join(dir, config), program: program}
	files, err := fs.Sub(configurations, config)
	if err != nil {
		return nil, err
	}
	if err := os.CopyFS(w.Dir, files); err != nil {
		return nil, fmt.Errorf("copy the configuration %s: %w", config, err)
	}
	rc := filepath.Join(dir, "terraform.rc")
	if err := os.WriteFile(rc, fmt.Appendf(nil, "disable_checkpoint = true\nprovider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", plugins), 0o600); err != nil {
		return nil, err
	}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") && !strings.HasPrefix(v, "TF_") && !strings.HasPrefix(v, "HOME=") {
			w.env = append(w.env, v)
		}
	}
	w.env = append(w.env, "AWS_ENDPOINT_URL="+endpoint, "AWS_ACCESS_KEY_ID="+accessKey, "AWS_SECRET_ACCESS_KEY=test", "AWS_REGION=us-east-1",
		"AWS_EC2_METADATA_DISABLED=true", "HOME="+dir, "TF_CLI_CONFIG_FILE="+rc, "TF_IN_AUTOMATION=1", "TF_INPUT=0")
	return w, nil
}

// Command is terraform in the workspace; it is not started yet.
func (w *Workspace) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(w.program, append([]string{name, "-no-color"}, args...)...)
	cmd.Dir, cmd.Env = w.Dir, w.env
	return cmd
}
