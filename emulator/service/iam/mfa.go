package iam

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const (
	maxDevicesPerUser = 8
	codeStep          = 30 * time.Second // RFC 6238, as authenticator apps have it
	seedSize          = 40
)

// mfaDevice is a virtual device: what an authenticator app is.
type mfaDevice struct {
	entity
	Seed    []byte
	UserID  string // whose it is while it is enabled: ids survive a user's new name
	Enabled time.Time
	Step    int64 // the last one that a code was taken of: codes are good once
}

// code is the device's code of a time step.
func (d *mfaDevice) code(step int64) string {
	mac := hmac.New(sha1.New, d.Seed)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(step)))
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0xf
	return fmt.Sprintf("%06d", (binary.BigEndian.Uint32(sum[at:])&0x7fffffff)%1000000)
}

// accept takes a code of the present or of the step before or after, once.
func (d *mfaDevice) accept(code string, now time.Time) bool {
	present := now.Unix() / int64(codeStep/time.Second)
	for step := max(present-1, d.Step+1); step <= present+1; step++ {
		if subtle.ConstantTimeCompare([]byte(d.code(step)), []byte(code)) == 1 {
			d.Step = step
			return true
		}
	}
	return false
}

// CreateVirtualMFADevice implements the operation. It draws no QR code: scripts read
// the seed.
func (s *Service) CreateVirtualMFADevice(ctx context.Context, in *iam.CreateVirtualMFADeviceInput, _ ...func(*iam.Options)) (*iam.CreateVirtualMFADeviceOutput, error) {
	var c checks
	c.Required("virtualMFADeviceName", in.VirtualMFADeviceName, 1, 226)
	c.path(in.Path)
	c.tags(in.Tags)
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := checkNames("virtualMFADeviceName", *in.VirtualMFADeviceName); err != nil {
		return nil, err
	}
	path, err := pathOf(in.Path)
	if err != nil {
		return nil, err
	}
	e, err := s.newEntity(ctx, "mfa", "", path, *in.VirtualMFADeviceName, in.Tags)
	if err != nil {
		return nil, err
	}
	d := &mfaDevice{entity: e, Seed: []byte(newSecret() + newSecret())[:seedSize]}
	sc := scopeOf(ctx)
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if devices.Get(tx, sc, key(d.ARN)) != nil {
			return exists("MFADevice entity at the same path and name already exists.")
		}
		devices.Put(tx, sc, key(d.ARN), d)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iam.CreateVirtualMFADeviceOutput{VirtualMFADevice: &types.VirtualMFADevice{
		SerialNumber: &d.ARN, Base32StringSeed: []byte(base32.StdEncoding.EncodeToString(d.Seed)), Tags: orNil(toTypes(d.Tags)),
	}}, nil
}

// editDevice finds a device for a change.
func editDevice(ctx context.Context, tx *store.Tx, serial *string) (*mfaDevice, func(), error) {
	sc, id := scopeOf(ctx), key(aws.ToString(serial))
	if d := devices.Get(tx, sc, id); d == nil || d.ARN != *serial {
		return nil, nil, noSuchEntity("VirtualMFADevice with serial number " + aws.ToString(serial) + " doesn't exist.")
	}
	d := devices.Edit(tx, sc, id)
	return d, func() { devices.Put(tx, sc, id, d) }, nil
}

func (c *checks) serial(v *string) { c.Required("serialNumber", v, 9, 256) }

// EnableMFADevice implements the operation, with two codes that follow each other.
func (s *Service) EnableMFADevice(ctx context.Context, in *iam.EnableMFADeviceInput, _ ...func(*iam.Options)) (*iam.EnableMFADeviceOutput, error) {
	var c checks
	c.name("userName", in.UserName)
	c.serial(in.SerialNumber)
	c.Required("authenticationCode1", in.AuthenticationCode1, 6, 6)
	c.Required("authenticationCode2", in.AuthenticationCode2, 6, 6)
	if err := c.err(); err != nil {
		return nil, err
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		u, err := getUser(ctx, tx, in.UserName)
		if err != nil {
			return err
		}
		d, put, err := editDevice(ctx, tx, in.SerialNumber)
		if err != nil {
			return err
		}
		if d.UserID != "" {
			return exists("MFADevice entity at the same path and name already exists.")
		}
		if len(devicesOf(tx, scopeOf(ctx), u.ID)) >= maxDevicesPerUser {
			return overQuota("MFADevicesPerUser", maxDevicesPerUser)
		}
		now := s.clock.Now()
		if !d.accept(*in.AuthenticationCode1, now) || d.code(d.Step+1) != *in.AuthenticationCode2 {
			return &types.InvalidAuthenticationCodeException{Message: aws.String("Authentication code for device is not valid.")}
		}
		d.Step++
		d.UserID, d.Enabled = u.ID, s.now()
		put()
		return nil
	})
	return answer(&iam.EnableMFADeviceOutput{}, err)
}

// DeactivateMFADevice implements the operation.
func (s *Service) DeactivateMFADevice(ctx context.Context, in *iam.DeactivateMFADeviceInput, _ ...func(*iam.Options)) (*iam.DeactivateMFADeviceOutput, error) {
	var c checks
	c.serial(in.SerialNumber)
	if err := c.err(); err != nil {
		return nil, err
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		u, err := s.userOrCaller(ctx, tx, in.UserName)
		if err != nil {
			return err
		}
		d, put, err := editDevice(ctx, tx, in.SerialNumber)
		if err != nil {
			return err
		}
		if d.UserID != u.ID {
			return noSuchEntity("VirtualMFADevice with serial number " + d.ARN + " doesn't exist.")
		}
		d.UserID, d.Enabled = "", time.Time{}
		put()
		return nil
	})
	return answer(&iam.DeactivateMFADeviceOutput{}, err)
}

// DeleteVirtualMFADevice implements the operation.
func (s *Service) DeleteVirtualMFADevice(ctx context.Context, in *iam.DeleteVirtualMFADeviceInput, _ ...func(*iam.Options)) (*iam.DeleteVirtualMFADeviceOutput, error) {
	var c checks
	c.serial(in.SerialNumber)
	if err := c.err(); err != nil {
		return nil, err
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		d, _, err := editDevice(ctx, tx, in.SerialNumber)
		if err != nil {
			return err
		}
		if d.UserID != "" {
			return conflict("MFA VirtualDevice in use. Must deactivate first.")
		}
		devices.Delete(tx, scopeOf(ctx), key(d.ARN))
		return nil
	})
	return answer(&iam.DeleteVirtualMFADeviceOutput{}, err)
}

func (s *Service) userOrCaller(ctx context.Context, r store.Reader, name *string) (*user, error) {
	if name == nil {
		own, err := callerUser(ctx)
		if err != nil {
			return nil, err
		}
		name = &own
	}
	return getUser(ctx, r, name)
}

func devicesOf(r store.Reader, sc awsid.Scope, userID string) []*mfaDevice {
	var out []*mfaDevice
	for _, d := range devices.List(r, sc) {
		if d.UserID == userID {
			out = append(out, d)
		}
	}
	return out
}

// ListMFADevices implements the operation.
func (s *Service) ListMFADevices(ctx context.Context, in *iam.ListMFADevicesInput, _ ...func(*iam.Options)) (*iam.ListMFADevicesOutput, error) {
	var c checks
	checkPage(&c, in.Marker, in.MaxItems)
	if err := c.err(); err != nil {
		return nil, err
	}
	u, err := s.userOrCaller(ctx, s.store, in.UserName)
	if err != nil {
		return nil, err
	}
	all, more, next, err := page(devicesOf(s.store, scopeOf(ctx), u.ID), func(d *mfaDevice) string { return d.ARN }, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := make([]types.MFADevice, len(all))
	for i, d := range all {
		out[i] = types.MFADevice{UserName: &u.Name, SerialNumber: &d.ARN, EnableDate: &d.Enabled}
	}
	return &iam.ListMFADevicesOutput{MFADevices: out, IsTruncated: more, Marker: next}, nil
}

// ListVirtualMFADevices implements the operation.
func (s *Service) ListVirtualMFADevices(ctx context.Context, in *iam.ListVirtualMFADevicesInput, _ ...func(*iam.Options)) (*iam.ListVirtualMFADevicesOutput, error) {
	var c checks
	c.OneOf("assignmentStatus", string(in.AssignmentStatus), "Assigned", "Unassigned", "Any")
	checkPage(&c, in.Marker, in.MaxItems)
	if err := c.err(); err != nil {
		return nil, err
	}
	sc := scopeOf(ctx)
	owners := map[string]*user{}
	for _, u := range users.List(s.store, sc) {
		owners[u.ID] = u
	}
	var all []types.VirtualMFADevice
	for _, d := range devices.List(s.store, sc) {
		v := types.VirtualMFADevice{SerialNumber: &d.ARN}
		if u := owners[d.UserID]; u != nil {
			brief := u.brief()
			v.User, v.EnableDate = &brief, &d.Enabled
		}
		if in.AssignmentStatus == types.AssignmentStatusTypeAssigned && v.User == nil || in.AssignmentStatus == types.AssignmentStatusTypeUnassigned && v.User != nil {
			continue
		}
		all = append(all, v)
	}
	all, more, next, err := page(all, func(v types.VirtualMFADevice) string { return *v.SerialNumber }, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.ListVirtualMFADevicesOutput{VirtualMFADevices: all, IsTruncated: more, Marker: next}, nil
}

// errCode ends a transaction without a write.
var errCode = errors.New("not the device's code")

// TakeMFACode tells whether a code is the present one of a device of the user. Codes
// are good once, which is durable when the answer is yes.
func (s *Service) TakeMFACode(ctx context.Context, sc awsid.Scope, userID, serial, code string) bool {
	sc = sc.Global()
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		d := devices.Get(tx, sc, key(serial))
		if d == nil || d.ARN != serial || userID == "" || d.UserID != userID {
			return errCode
		}
		d = devices.Edit(tx, sc, key(serial))
		if !d.accept(code, s.clock.Now()) {
			return errCode
		}
		devices.Put(tx, sc, key(serial), d)
		return nil
	})
	return err == nil
}
