package ssm

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const maxLabels = 10

var labelPattern = regexp.MustCompile(`^[a-zA-Z_.\-][a-zA-Z0-9_.\-]{0,99}$`)

func validLabel(l string) bool {
	low := strings.ToLower(l)
	return labelPattern.MatchString(l) && !strings.HasPrefix(low, "aws") && !strings.HasPrefix(low, "ssm")
}

// editVersion returns a private copy of one version; n nil means the newest.
func editVersion(tx *store.Tx, sc awsid.Scope, name string, n *int64) (*version, error) {
	p := parameters.Get(tx, sc, name)
	if p == nil {
		return nil, notFound()
	}
	number := p.Number
	if n != nil {
		number = *n
	}
	v := versions.Edit(tx, sc, versionKey(name, number))
	if v == nil {
		return nil, &types.ParameterVersionNotFound{Message: aws.String(fmt.Sprintf("Systems Manager could not find version %d of %s. Verify the version and try again.", number, name))}
	}
	return v, nil
}

// LabelParameterVersion implements the operation. A label is on one version at
// most: giving it to another takes it away from the first.
func (s *Service) LabelParameterVersion(ctx context.Context, in *ssm.LabelParameterVersionInput, _ ...func(*ssm.Options)) (*ssm.LabelParameterVersionOutput, error) {
	var c checks
	c.Required("name", in.Name, 1, 2048)
	c.list("labels", in.Labels, 1, maxLabels)
	c.members("labels", in.Labels, 1, 100)
	if err := c.err(); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	out := &ssm.LabelParameterVersionOutput{}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		v, err := editVersion(tx, sc, *in.Name, in.ParameterVersion)
		if err != nil {
			return err
		}
		out.ParameterVersion, out.InvalidLabels = v.Number, []string{}
		for _, l := range in.Labels {
			if !validLabel(l) {
				out.InvalidLabels = append(out.InvalidLabels, l)
				continue
			}
			if !slices.Contains(v.Labels, l) {
				v.Labels = append(v.Labels, l)
			}
			unlabel(tx, sc, v, l)
		}
		if len(v.Labels) > maxLabels {
			return &types.ParameterVersionLabelLimitExceeded{Message: aws.String("A parameter version can have maximum 10 labels.Move one or more labels to another version and try again.")}
		}
		slices.Sort(v.Labels)
		versions.Put(tx, sc, versionKey(v.Name, v.Number), v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// unlabel takes a label from every version but keep.
func unlabel(tx *store.Tx, sc awsid.Scope, keep *version, label string) {
	for _, o := range versions.ListPrefix(tx, sc, keep.Name+":") {
		if o.Number == keep.Number || !slices.Contains(o.Labels, label) {
			continue
		}
		e := versions.Edit(tx, sc, versionKey(o.Name, o.Number))
		e.Labels = slices.DeleteFunc(e.Labels, func(l string) bool { return l == label })
		versions.Put(tx, sc, versionKey(e.Name, e.Number), e)
	}
}

// UnlabelParameterVersion implements the operation.
func (s *Service) UnlabelParameterVersion(ctx context.Context, in *ssm.UnlabelParameterVersionInput, _ ...func(*ssm.Options)) (*ssm.UnlabelParameterVersionOutput, error) {
	var c checks
	c.Required("name", in.Name, 1, 2048)
	c.list("labels", in.Labels, 1, maxLabels)
	c.members("labels", in.Labels, 1, 100)
	c.Null("parameterVersion", in.ParameterVersion == nil)
	if err := c.err(); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	out := &ssm.UnlabelParameterVersionOutput{}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		v, err := editVersion(tx, sc, *in.Name, in.ParameterVersion)
		if err != nil {
			return err
		}
		out.RemovedLabels, out.InvalidLabels = []string{}, []string{}
		for _, l := range in.Labels {
			i := slices.Index(v.Labels, l)
			if i < 0 {
				out.InvalidLabels = append(out.InvalidLabels, l)
				continue
			}
			v.Labels = slices.Delete(v.Labels, i, i+1)
			out.RemovedLabels = append(out.RemovedLabels, l)
		}
		versions.Put(tx, sc, versionKey(v.Name, v.Number), v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
