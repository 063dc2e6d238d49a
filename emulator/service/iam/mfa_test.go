package iam

import (
	"encoding/base32"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// TestCodes has the SHA-1 vectors of RFC 6238, appendix B, at six digits.
func TestCodes(t *testing.T) {
	d := &mfaDevice{Seed: []byte("12345678901234567890")}
	for at, want := range map[int64]string{59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037"} {
		if got := d.code(at / 30); got != want {
			t.Errorf("at %d: %s, want %s", at, got, want)
		}
	}
}

func TestVirtualMFADevice(t *testing.T) {
	ctx, s, clk := newService(t)
	u := must[iam.CreateUserOutput](t)(s.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("alice")})).User
	v := must[iam.CreateVirtualMFADeviceOutput](t)(s.CreateVirtualMFADevice(ctx, &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: aws.String("phone")})).VirtualMFADevice
	seed, err := base32.StdEncoding.DecodeString(string(v.Base32StringSeed))
	if err != nil || *v.SerialNumber != "arn:aws:iam::"+account+":mfa/phone" {
		t.Fatal(*v.SerialNumber, err)
	}
	app := &mfaDevice{Seed: seed}
	code := func(offset int64) string { return app.code(clk.Now().Unix()/30 + offset) }
	enable := func(one, two string) error {
		_, err := s.EnableMFADevice(ctx, &iam.EnableMFADeviceInput{UserName: u.UserName, SerialNumber: v.SerialNumber, AuthenticationCode1: &one, AuthenticationCode2: &two})
		return err
	}
	wantError(t, enable(code(0), code(0)), "InvalidAuthenticationCode", "Authentication code for device is not valid.")
	if err := enable(code(0), code(1)); err != nil {
		t.Fatal(err)
	}
	list := must[iam.ListMFADevicesOutput](t)(s.ListMFADevices(ctx, &iam.ListMFADevicesInput{UserName: u.UserName})).MFADevices
	if len(list) != 1 || *list[0].SerialNumber != *v.SerialNumber || !list[0].EnableDate.Equal(start.Truncate(time.Second)) {
		t.Errorf("%+v", list)
	}
	all := must[iam.ListVirtualMFADevicesOutput](t)(s.ListVirtualMFADevices(ctx, &iam.ListVirtualMFADevicesInput{AssignmentStatus: "Assigned"})).VirtualMFADevices
	if len(all) != 1 || *all[0].User.UserName != "alice" {
		t.Errorf("%+v", all)
	}

	take := func(userID, code string) bool {
		return s.TakeMFACode(ctx, awsid.Scope{Account: account}, userID, *v.SerialNumber, code)
	}
	if take(*u.UserId, code(1)) {
		t.Error("a code of the activation is taken again")
	}
	clk.SetTime(clk.Now().Add(2 * time.Minute))
	if take("AIDASOMEBODYELSE12345", code(0)) || take("", code(0)) || take(*u.UserId, code(-2)) || take(*u.UserId, "000000x") {
		t.Error("a wrong code is taken")
	}
	if !take(*u.UserId, code(0)) || take(*u.UserId, code(0)) {
		t.Error("a code is not good exactly once")
	}

	_, err = s.DeleteVirtualMFADevice(ctx, &iam.DeleteVirtualMFADeviceInput{SerialNumber: v.SerialNumber})
	wantError(t, err, "DeleteConflict", "MFA VirtualDevice in use. Must deactivate first.")
	_, err = s.DeleteUser(ctx, &iam.DeleteUserInput{UserName: u.UserName})
	wantError(t, err, "DeleteConflict", "Cannot delete entity, must delete MFA device first.")
	must[iam.DeactivateMFADeviceOutput](t)(s.DeactivateMFADevice(ctx, &iam.DeactivateMFADeviceInput{UserName: u.UserName, SerialNumber: v.SerialNumber}))
	must[iam.DeleteVirtualMFADeviceOutput](t)(s.DeleteVirtualMFADevice(ctx, &iam.DeleteVirtualMFADeviceInput{SerialNumber: v.SerialNumber}))
	must[iam.DeleteUserOutput](t)(s.DeleteUser(ctx, &iam.DeleteUserInput{UserName: u.UserName}))
}
