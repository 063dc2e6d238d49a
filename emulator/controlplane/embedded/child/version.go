package child

import (
	"strings"

	apimachineryversion "k8s.io/apimachinery/pkg/version"
	basecompatibility "k8s.io/component-base/compatibility"
)

// reportedVersion makes the API server name itself as EKS's build of the emulated
// version does.
type reportedVersion struct {
	basecompatibility.EffectiveVersion
	git string
}

func (v reportedVersion) Info() *apimachineryversion.Info {
	i := *v.EffectiveVersion.Info()
	i.GitVersion = v.git
	if parts := strings.SplitN(strings.TrimPrefix(v.git, "v"), ".", 3); len(parts) == 3 {
		i.Major, i.Minor = parts[0], parts[1]
		i.EmulationMajor, i.EmulationMinor = parts[0], parts[1]
	}
	i.GitCommit, i.GitTreeState, i.BuildDate = strings.TrimSpace(v.git[strings.LastIndex(v.git, "-")+1:]), "clean", ""
	i.MinCompatibilityMajor, i.MinCompatibilityMinor = "", ""
	return &i
}
