package eks

import (
	"context"
	"regexp"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

var subscriptionName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,99}$`)

const (
	maxLicenses = 100
	// subscriptionStart is how long a new subscription shows as CREATING.
	subscriptionStart = time.Second
)

// at returns the subscription as it is at a time: states follow from its dates. The
// licenses of AWS License Manager are not emulated.
func (s *Subscription) at(now time.Time) *ekstypes.EksAnywhereSubscription {
	r := s.Resource
	for r.AutoRenew && !now.Before(*r.ExpirationDate) {
		r.ExpirationDate = aws.Time(r.ExpirationDate.AddDate(0, int(r.Term.Duration), 0))
	}
	status := ekstypes.EksAnywhereSubscriptionStatusActive
	switch {
	case now.Before(r.CreatedAt.Add(subscriptionStart)):
		status = ekstypes.EksAnywhereSubscriptionStatusCreating
	case !now.Before(*r.ExpirationDate):
		status = ekstypes.EksAnywhereSubscriptionStatusExpired
	}
	r.Status = aws.String(string(status))
	return &r
}

func noSubscription(id string) error {
	return &ekstypes.ResourceNotFoundException{Message: aws.String("No subscription found for id: " + id), SubscriptionId: &id}
}

// CreateEksAnywhereSubscription implements eks:CreateEksAnywhereSubscription.
func (s *Service) CreateEksAnywhereSubscription(ctx context.Context, in *eks.CreateEksAnywhereSubscriptionInput, _ ...func(*eks.Options)) (*eks.CreateEksAnywhereSubscriptionOutput, error) {
	bare := *in
	bare.ClientRequestToken = nil
	req, err := newRequest(in.ClientRequestToken, bare)
	if err != nil {
		return nil, err
	}
	if err := checkSubscription(in); err != nil {
		return nil, err
	}
	scope := awsid.CallerFrom(ctx).Scope
	var sub *Subscription
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		for _, o := range Subscriptions.List(tx, scope) {
			if same, err := req.repeats(about{}, o.Request); err != nil || same {
				sub = o
				return err
			}
			if o.Name == *in.Name {
				return about{}.inUse("Subscription already exists with name: %s", *in.Name)
			}
		}
		id, now := awsid.NewUUID(), s.now()
		sub = &Subscription{Scope: scope, Name: *in.Name, Request: req, Resource: ekstypes.EksAnywhereSubscription{
			Id: &id, Arn: aws.String(scope.ARN("eks", "eks-anywhere-subscription/"+id)), AutoRenew: in.AutoRenew, CreatedAt: now, EffectiveDate: now,
			ExpirationDate: aws.Time(now.AddDate(0, int(in.Term.Duration), 0)), LicenseQuantity: max(1, in.LicenseQuantity),
			LicenseType: ekstypes.EksAnywhereSubscriptionLicenseTypeCluster, Tags: nonNil(in.Tags), Term: in.Term,
		}}
		Subscriptions.Put(tx, scope, id, sub)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.CreateEksAnywhereSubscriptionOutput{Subscription: sub.at(s.clock.Now())}, nil
}

func checkSubscription(in *eks.CreateEksAnywhereSubscriptionInput) error {
	a := about{}
	switch {
	case !subscriptionName.MatchString(aws.ToString(in.Name)):
		return a.invalidParameter("The subscription name can contain only alphanumeric characters, hyphens and underscores, must start with an alphabetic character and can't be longer than 100 characters.")
	case in.Term == nil || in.Term.Unit != ekstypes.EksAnywhereSubscriptionTermUnitMonths || in.Term.Duration != 12 && in.Term.Duration != 36:
		return a.invalidParameter("The term must be 12 or 36 MONTHS")
	case in.LicenseQuantity < 0 || in.LicenseQuantity > maxLicenses:
		return a.invalidParameter("licenseQuantity must be between 1 and %d", maxLicenses)
	case in.LicenseType != "" && in.LicenseType != ekstypes.EksAnywhereSubscriptionLicenseTypeCluster:
		return a.invalidParameter("Unsupported licenseType %s", in.LicenseType)
	}
	return checkTags(in.Tags)
}

// DescribeEksAnywhereSubscription implements eks:DescribeEksAnywhereSubscription.
func (s *Service) DescribeEksAnywhereSubscription(ctx context.Context, in *eks.DescribeEksAnywhereSubscriptionInput, _ ...func(*eks.Options)) (*eks.DescribeEksAnywhereSubscriptionOutput, error) {
	sub := Subscriptions.Get(s.store, awsid.CallerFrom(ctx).Scope, aws.ToString(in.Id))
	if sub == nil {
		return nil, noSubscription(aws.ToString(in.Id))
	}
	return &eks.DescribeEksAnywhereSubscriptionOutput{Subscription: sub.at(s.clock.Now())}, nil
}

// ListEksAnywhereSubscriptions implements eks:ListEksAnywhereSubscriptions.
func (s *Service) ListEksAnywhereSubscriptions(ctx context.Context, in *eks.ListEksAnywhereSubscriptionsInput, _ ...func(*eks.Options)) (*eks.ListEksAnywhereSubscriptionsOutput, error) {
	for _, st := range in.IncludeStatus {
		if !slices.Contains(st.Values(), st) {
			return nil, about{}.invalidParameter("Unsupported subscription status %s", st)
		}
	}
	list := []ekstypes.EksAnywhereSubscription{}
	for _, sub := range Subscriptions.List(s.store, awsid.CallerFrom(ctx).Scope) {
		r := sub.at(s.clock.Now())
		if len(in.IncludeStatus) == 0 || slices.Contains(in.IncludeStatus, ekstypes.EksAnywhereSubscriptionStatus(*r.Status)) {
			list = append(list, *r)
		}
	}
	size := in.MaxResults
	if size == nil {
		size = aws.Int32(10) // as the API documents, other than for the other lists
	}
	list, next, err := page("ListEksAnywhereSubscriptions", list, func(r ekstypes.EksAnywhereSubscription) string { return *r.Id }, size, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &eks.ListEksAnywhereSubscriptionsOutput{Subscriptions: list, NextToken: next}, nil
}

// UpdateEksAnywhereSubscription implements eks:UpdateEksAnywhereSubscription.
func (s *Service) UpdateEksAnywhereSubscription(ctx context.Context, in *eks.UpdateEksAnywhereSubscriptionInput, _ ...func(*eks.Options)) (*eks.UpdateEksAnywhereSubscriptionOutput, error) {
	scope, id := awsid.CallerFrom(ctx).Scope, aws.ToString(in.Id)
	var sub *Subscription
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if sub = Subscriptions.Edit(tx, scope, id); sub == nil {
			return noSubscription(id)
		}
		// The terms that were renewed until now stay when renewal ends.
		now := sub.at(s.clock.Now())
		if *now.Status == string(ekstypes.EksAnywhereSubscriptionStatusExpired) {
			return about{}.invalidRequest("Subscription %s is expired and cannot be updated.", id)
		}
		sub.Resource.ExpirationDate, sub.Resource.AutoRenew = now.ExpirationDate, in.AutoRenew
		Subscriptions.Put(tx, scope, id, sub)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.UpdateEksAnywhereSubscriptionOutput{Subscription: sub.at(s.clock.Now())}, nil
}

// DeleteEksAnywhereSubscription implements eks:DeleteEksAnywhereSubscription. Only
// inactive ones can be deleted: a subscription is a contract.
func (s *Service) DeleteEksAnywhereSubscription(ctx context.Context, in *eks.DeleteEksAnywhereSubscriptionInput, _ ...func(*eks.Options)) (*eks.DeleteEksAnywhereSubscriptionOutput, error) {
	scope, id := awsid.CallerFrom(ctx).Scope, aws.ToString(in.Id)
	var r *ekstypes.EksAnywhereSubscription
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		sub := Subscriptions.Get(tx, scope, id)
		if sub == nil {
			return noSubscription(id)
		}
		if r = sub.at(s.clock.Now()); *r.Status != string(ekstypes.EksAnywhereSubscriptionStatusExpired) {
			return &ekstypes.InvalidRequestException{
				Message:        aws.String("Subscription " + id + " is " + *r.Status + ": only expired or inactive subscriptions can be deleted."),
				SubscriptionId: &id,
			}
		}
		r.Status = aws.String(string(ekstypes.EksAnywhereSubscriptionStatusDeleting))
		Subscriptions.Delete(tx, scope, id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.DeleteEksAnywhereSubscriptionOutput{Subscription: r}, nil
}
