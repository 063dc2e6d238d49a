package kind

import (
	"context"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// equip gives a node what stands for AWS's software there.
func (p *plane) equip(context.Context, string, controlplane.Machine) error { return nil }

// Provide implements controlplane.Hoster.
func (b *Backend) Provide(context.Context, string, []string) error { return nil }
