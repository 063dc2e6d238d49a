package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) envCommand() *cobra.Command {
	var shell, account string
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print the exports that point AWS tools at the emulator",
		Example: `  eval "$(ekslocal env)"                                        # bash, zsh
  ekslocal env --shell fish | source
  ekslocal env --shell powershell | Out-String | Invoke-Expression`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			endpoint, _, err := a.target("")
			if err != nil {
				return err
			}
			if shell == "" {
				shell = shellOf(a.Getenv("SHELL"))
			}
			key := "test"
			if account != "" {
				if len(account) != 12 || strings.Trim(account, "0123456789") != "" {
					return fmt.Errorf("--account %s is not an AWS account id of 12 digits", account)
				}
				key = account // the emulator takes an account id as the access key of its root
			}
			return renderEnv(cmd.OutOrStdout(), shell, [][2]string{
				{"AWS_ENDPOINT_URL", endpoint},
				{"AWS_ACCESS_KEY_ID", key},
				{"AWS_SECRET_ACCESS_KEY", "test"},
				{"AWS_REGION", a.region()},
				{"AWS_DEFAULT_REGION", a.region()}, // aws CLI v1 and boto3 read no other
			})
		},
	}
	cmd.Flags().StringVar(&shell, "shell", "", "bash, zsh, fish or powershell (default: by $SHELL)")
	cmd.Flags().StringVar(&account, "account", "", "act as the root of this account (default 000000000000)")
	return cmd
}

func shellOf(path string) string {
	switch name := filepath.Base(path); name {
	case "fish":
		return "fish"
	case "pwsh", "powershell":
		return "powershell"
	default:
		return "bash"
	}
}

func renderEnv(w io.Writer, shell string, vars [][2]string) error {
	var format, quote string
	switch shell {
	case "bash", "zsh", "sh":
		format, quote = "export %s=%s\n", `'\''`
	case "fish":
		format, quote = "set -gx %s %s;\n", `\'`
	case "powershell", "pwsh":
		format, quote = "$Env:%s = %s\n", `''`
	default:
		return fmt.Errorf("--shell %s is not bash, zsh, fish or powershell", shell)
	}
	for _, v := range vars {
		value := v[1]
		if shell == "fish" {
			value = strings.ReplaceAll(value, `\`, `\\`)
		}
		if _, err := fmt.Fprintf(w, format, v[0], "'"+strings.ReplaceAll(value, "'", quote)+"'"); err != nil {
			return err
		}
	}
	return nil
}
