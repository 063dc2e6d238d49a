package events

import (
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const (
	buses store.Table[bus]  = "events-buses" // id: name
	rules store.Table[rule] = "events-rules" // id: ruleID
)

// defaultBus is the bus that every account has in every region. It is stored once
// it has tags or a policy.
const defaultBus = "default"

type bus struct {
	Scope             awsid.Scope
	Name              string
	Description, Key  *string
	DeadLetter        *types.DeadLetterConfig
	Log               *types.LogConfig
	Policy            string
	Tags              []types.Tag
	Created, Modified time.Time
}

type rule struct {
	Scope                awsid.Scope
	Bus, Name            string
	Pattern, Schedule    string
	Description, RoleARN *string
	State                types.RuleState
	Targets              []types.Target
	Tags                 []types.Tag
}

func ruleID(bus, name string) string { return bus + "/" + name }

func (b *bus) arn() string { return b.Scope.ARN("events", "event-bus/"+b.Name) }

func (r *rule) arn() string {
	if r.Bus == defaultBus {
		return r.Scope.ARN("events", "rule/"+r.Name)
	}
	return r.Scope.ARN("events", "rule/"+r.Bus+"/"+r.Name)
}

// busName reads a bus's name off its name or ARN.
func busName(nameOrARN *string) string {
	n := aws.ToString(nameOrARN)
	if n == "" {
		return defaultBus
	}
	if a, err := awsid.ParseARN(n); err == nil {
		return strings.TrimPrefix(a.Resource, "event-bus/")
	}
	return n
}

// findBus returns a bus, the default one even if it is not stored.
func (s *Service) findBus(r store.Reader, sc awsid.Scope, name string) *bus {
	if b := buses.Get(r, sc, name); b != nil || name != defaultBus {
		return b
	}
	return &bus{Scope: sc, Name: defaultBus}
}

var namePattern = regexp.MustCompile(`^[.\-_A-Za-z0-9]+$`)

// checkName is the common validation layer's check of a name.
func checkName(member string, name *string, most int, re *regexp.Regexp, shown string) error {
	var found []string
	add := func(value, constraint string) {
		found = append(found, "Value "+value+" at '"+member+"' failed to satisfy constraint: "+constraint)
	}
	n := aws.ToString(name)
	switch {
	case name == nil:
		add("null", "Member must not be null")
	case n == "":
		add("''", "Member must have length greater than or equal to 1")
	default:
		if !re.MatchString(n) {
			add("'"+n+"'", "Member must satisfy regular expression pattern: "+shown)
		}
		if len(n) > most {
			add("'"+n+"'", "Member must have length less than or equal to "+itoa(most))
		}
	}
	return detected(found)
}
