package policy

import "testing"

// Sources of the tables: pages of the IAM User Guide.
const (
	docOperators = "IAM JSON policy elements: Condition operators"
	docMulti     = "Creating a condition with multiple keys or values"
	docVariables = "IAM policy elements: Variables and tags"
	docResource  = "IAM JSON policy elements: Resource"
	unverified   = "no public text confirms it"
	docTags      = "Controlling access during AWS requests using tags"
)

func TestConditions(t *testing.T) {
	type ctx = map[string][]string
	tests := []struct {
		source, name, condition string
		ctx                     ctx
		holds                   bool
	}{
		{docOperators, "StringEquals", `{"StringEquals":{"aws:PrincipalTag/job-category":"iamuser-admin"}}`, ctx{"aws:principaltag/job-category": {"iamuser-admin"}}, true},
		{docOperators, "StringEquals is case-sensitive", `{"StringEquals":{"aws:PrincipalTag/job-category":"iamuser-admin"}}`, ctx{"aws:principaltag/job-category": {"IAMUser-admin"}}, false},
		{docOperators, "StringEquals, key not present", `{"StringEquals":{"aws:PrincipalTag/job-category":"iamuser-admin"}}`, nil, false},
		{docOperators, "StringNotEquals, key not present", `{"StringNotEquals":{"k":"a"}}`, nil, true},
		{docOperators, "StringNotEquals", `{"StringNotEquals":{"k":["a","b"]}}`, ctx{"k": {"b"}}, false},
		{docOperators, "StringEqualsIgnoreCase", `{"StringEqualsIgnoreCase":{"k":"ABC"}}`, ctx{"k": {"abc"}}, true},
		{docOperators, "StringNotEqualsIgnoreCase", `{"StringNotEqualsIgnoreCase":{"k":"ABC"}}`, ctx{"k": {"abc"}}, false},
		{docOperators, "StringLike, home directory", `{"StringLike":{"s3:prefix":["","home/","home/${aws:username}/"]}}`, ctx{"s3:prefix": {"home/David/"}, "aws:username": {"David"}}, true},
		{docOperators, "StringLike, somebody else's", `{"StringLike":{"s3:prefix":["","home/","home/${aws:username}/"]}}`, ctx{"s3:prefix": {"home/David/"}, "aws:username": {"Bob"}}, false},
		{docOperators, "StringLike, empty value", `{"StringLike":{"s3:prefix":["","home/"]}}`, ctx{"s3:prefix": {""}}, true},
		{docOperators, "StringLike is case-sensitive", `{"StringLike":{"k":"t2.*"}}`, ctx{"k": {"T2.micro"}}, false},
		{docOperators, "StringLike, one character", `{"StringLike":{"k":"t?.micro"}}`, ctx{"k": {"t2.micro"}}, true},
		{docOperators, "StringNotLike", `{"StringNotLike":{"k":"t2.*"}}`, ctx{"k": {"m5.large"}}, true},
		{docOperators, "NumericLessThanEquals", `{"NumericLessThanEquals":{"s3:max-keys":"10"}}`, ctx{"s3:max-keys": {"10"}}, true},
		{docOperators, "NumericLessThanEquals, more", `{"NumericLessThanEquals":{"s3:max-keys":"10"}}`, ctx{"s3:max-keys": {"11"}}, false},
		{docOperators, "NumericEquals compares numbers", `{"NumericEquals":{"k":"10.0"}}`, ctx{"k": {"10"}}, true},
		{docOperators, "NumericNotEquals", `{"NumericNotEquals":{"k":"10"}}`, ctx{"k": {"9"}}, true},
		{docOperators, "NumericGreaterThan", `{"NumericGreaterThan":{"k":"10"}}`, ctx{"k": {"10"}}, false},
		{docOperators, "NumericGreaterThanEquals", `{"NumericGreaterThanEquals":{"k":10}}`, ctx{"k": {"10"}}, true},
		{docOperators, "Numeric takes no variables", `{"NumericEquals":{"k":"${n}"}}`, ctx{"k": {"1"}, "n": {"1"}}, false},
		{docOperators, "DateGreaterThan", `{"DateGreaterThan":{"aws:TokenIssueTime":"2020-01-01T00:00:01Z"}}`, ctx{"aws:tokenissuetime": {"2020-01-01T00:00:02Z"}}, true},
		{docOperators, "DateGreaterThan, access keys", `{"DateGreaterThan":{"aws:TokenIssueTime":"2020-01-01T00:00:01Z"}}`, nil, false},
		{docOperators, "DateLessThan, epoch", `{"DateLessThan":{"aws:EpochTime":"1577836801"}}`, ctx{"aws:epochtime": {"1577836800"}}, true},
		{docOperators, "DateLessThanEquals, other zone", `{"DateLessThanEquals":{"aws:CurrentTime":"2020-01-01T01:00:00+01:00"}}`, ctx{"aws:currenttime": {"2020-01-01T00:00:00Z"}}, true},
		{docOperators, "DateEquals", `{"DateEquals":{"aws:CurrentTime":"2020-01-01"}}`, ctx{"aws:currenttime": {"2020-01-01T00:00:00Z"}}, true},
		{docOperators, "DateNotEquals, no date", `{"DateNotEquals":{"aws:CurrentTime":"tomorrow"}}`, ctx{"aws:currenttime": {"2020-01-01T00:00:00Z"}}, true},
		{docOperators, "DateGreaterThanEquals, wildcards are not permitted", `{"DateGreaterThanEquals":{"aws:CurrentTime":"2020-*"}}`, ctx{"aws:currenttime": {"2020-01-01T00:00:00Z"}}, false},
		{docOperators, "Bool", `{"Bool":{"aws:SecureTransport":"false"}}`, ctx{"aws:securetransport": {"true"}}, false},
		{docOperators, "Bool, JSON's own", `{"Bool":{"aws:SecureTransport":true}}`, ctx{"aws:securetransport": {"true"}}, true},
		{docOperators, "Bool, key not present", `{"Bool":{"aws:MultiFactorAuthPresent":"false"}}`, nil, false},
		{docOperators, "BoolIfExists, key not present", `{"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"}}`, nil, true},
		{docOperators, "BinaryEquals", `{"BinaryEquals":{"key":"QmluYXJ5VmFsdWVJbkJhc2U2NA=="}}`, ctx{"key": {"BinaryValueInBase64"}}, true},
		{docOperators, "IpAddress", `{"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}}`, ctx{"aws:sourceip": {"203.0.113.7"}}, true},
		{docOperators, "IpAddress, outside", `{"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}}`, ctx{"aws:sourceip": {"203.0.114.7"}}, false},
		{docOperators, "IpAddress, IPv6", `{"IpAddress":{"aws:SourceIp":["203.0.113.0/24","2001:DB8:1234:5678::/64"]}}`, ctx{"aws:sourceip": {"2001:db8:1234:5678::1"}}, true},
		{docOperators, "IpAddress without prefix is /32", `{"IpAddress":{"aws:SourceIp":"203.0.113.7"}}`, ctx{"aws:sourceip": {"203.0.113.7"}}, true},
		{docOperators, "NotIpAddress", `{"NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}}`, ctx{"aws:sourceip": {"203.0.113.7"}}, false},
		{docOperators, "StringLike crosses colons", `{"StringLike":{"k":"arn:aws:someservice:*:111122223333:finance/*"}}`, ctx{"k": {"arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt"}}, true},
		{docOperators, "ArnLike does not", `{"ArnLike":{"k":"arn:aws:someservice:*:111122223333:finance/*"}}`, ctx{"k": {"arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt"}}, false},
		{docOperators, "ArnEquals behaves as ArnLike", `{"ArnEquals":{"aws:SourceArn":"arn:aws:sns:*:123456789012:*"}}`, ctx{"aws:sourcearn": {"arn:aws:sns:us-east-1:123456789012:topic:sub"}}, true},
		{docOperators, "ArnLike is case-sensitive", `{"ArnLike":{"k":"arn:aws:iam::123456789012:role/Ops"}}`, ctx{"k": {"arn:aws:iam::123456789012:role/ops"}}, false},
		{docOperators, "ArnNotLike, key not present", `{"ArnNotLike":{"k":"arn:aws:iam::123456789012:role/Ops"}}`, nil, true},
		{docOperators, "ArnNotEquals", `{"ArnNotEquals":{"k":"arn:aws:iam::123456789012:role/*"}}`, ctx{"k": {"arn:aws:iam::123456789012:user/x"}}, true},
		{docOperators, "StringLikeIfExists, present", `{"StringLikeIfExists":{"ec2:InstanceType":["t1.*","t2.*","m3.*"]}}`, ctx{"ec2:instancetype": {"c5.large"}}, false},
		{docOperators, "StringLikeIfExists, another kind of resource", `{"StringLikeIfExists":{"ec2:InstanceType":["t1.*","t2.*","m3.*"]}}`, nil, true},
		{docOperators, "StringNotEqualsIfExists, key not present", `{"StringNotEqualsIfExists":{"k":"a"}}`, nil, true},
		{docOperators, "Null true", `{"Null":{"aws:TokenIssueTime":"true"}}`, nil, true},
		{docOperators, "Null true, present", `{"Null":{"aws:TokenIssueTime":"true"}}`, ctx{"aws:tokenissuetime": {"2020-01-01T00:00:00Z"}}, false},
		{docOperators, "Null false", `{"Null":{"aws:TokenIssueTime":"false"}}`, ctx{"aws:tokenissuetime": {"2020-01-01T00:00:00Z"}}, true},
		{docOperators, "key names have no case", `{"StringEquals":{"AWS:UserName":"a"}}`, ctx{"aws:username": {"a"}}, true},

		{docMulti, "several operators are ANDed", `{"StringEqualsIgnoreCase":{"aws:PrincipalTag/department":["finance","hr","legal"],"aws:PrincipalTag/role":["audit","security"]},"StringEquals":{"aws:PrincipalAccount":"123456789012"}}`,
			ctx{"aws:principaltag/department": {"HR"}, "aws:principaltag/role": {"audit"}, "aws:principalaccount": {"123456789012"}}, true},
		{docMulti, "one of them fails", `{"StringEqualsIgnoreCase":{"aws:PrincipalTag/department":["finance","hr","legal"],"aws:PrincipalTag/role":["audit","security"]},"StringEquals":{"aws:PrincipalAccount":"123456789012"}}`,
			ctx{"aws:principaltag/department": {"HR"}, "aws:principaltag/role": {"dev"}, "aws:principalaccount": {"123456789012"}}, false},
		{docMulti, "ForAllValues, a subset", `{"ForAllValues:StringEquals":{"dynamodb:Attributes":["ID","Message","Tags"]}}`, ctx{"dynamodb:attributes": {"ID", "Tags"}}, true},
		{docMulti, "ForAllValues, one more", `{"ForAllValues:StringEquals":{"dynamodb:Attributes":["ID","Message","Tags"]}}`, ctx{"dynamodb:attributes": {"ID", "UserName"}}, false},
		{docMulti, "ForAllValues, no key", `{"ForAllValues:StringEquals":{"dynamodb:Attributes":["ID"]}}`, nil, true},
		{docMulti, "ForAllValues, an empty string", `{"ForAllValues:StringEquals":{"dynamodb:Attributes":["ID"]}}`, ctx{"dynamodb:attributes": {""}}, true},
		{docMulti, "ForAnyValue, one of them", `{"ForAnyValue:StringEquals":{"dynamodb:Attributes":["ID","PostDateTime"]}}`, ctx{"dynamodb:attributes": {"UserName", "Message", "PostDateTime"}}, true},
		{docMulti, "ForAnyValue, none", `{"ForAnyValue:StringEquals":{"dynamodb:Attributes":["ID","PostDateTime"]}}`, ctx{"dynamodb:attributes": {"UserName"}}, false},
		{docMulti, "ForAnyValue, no key", `{"ForAnyValue:StringEquals":{"dynamodb:Attributes":["ID"]}}`, nil, false},
		{docMulti, "ForAnyValue, an empty list", `{"ForAnyValue:StringNotEquals":{"dynamodb:Attributes":["ID"]}}`, ctx{"dynamodb:attributes": {}}, false},
		{docTags, "keys, all of them", `{"ForAllValues:StringEquals":{"aws:TagKeys":["preprod","storage"]},"Null":{"aws:TagKeys":"false"}}`, ctx{"aws:tagkeys": {"storage"}}, true},
		{docTags, "keys, none given", `{"ForAllValues:StringEquals":{"aws:TagKeys":["preprod","storage"]},"Null":{"aws:TagKeys":"false"}}`, nil, false},

		{docVariables, "no value, StringEquals", `{"StringEquals":{"s3:ExistingObjectTag/Team":"${aws:PrincipalTag/Team}"}}`, ctx{"s3:existingobjecttag/team": {"${aws:PrincipalTag/Team}"}}, false},
		{docVariables, "no value, StringNotEquals", `{"StringNotEquals":{"s3:ExistingObjectTag/Team":"${aws:PrincipalTag/Team}"}}`, ctx{"s3:existingobjecttag/team": {"${aws:PrincipalTag/Team}"}}, true},
		{docVariables, "tags", `{"StringEquals":{"s3:ExistingObjectTag/Team":"${aws:PrincipalTag/Team}"}}`, ctx{"s3:existingobjecttag/team": {"a"}, "aws:principaltag/team": {"a"}}, true},
		{docVariables, "default", `{"StringEquals":{"k":"${aws:PrincipalTag/team, 'company-wide'}"}}`, ctx{"k": {"company-wide"}}, true},
		{docVariables, "default not used", `{"StringEquals":{"k":"${aws:PrincipalTag/team, 'company-wide'}"}}`, ctx{"k": {"company-wide"}, "aws:principaltag/team": {"yellow"}}, false},
		{docVariables, "special characters", `{"StringLike":{"k":"${*}a${?}${$}*"}}`, ctx{"k": {"*a?$x"}}, true},
		{docVariables, "special characters are no wildcards", `{"StringLike":{"k":"${*}"}}`, ctx{"k": {"x"}}, false},
		{docVariables, "multivalued keys are no variables", `{"StringEquals":{"k":"${aws:TagKeys}"}}`, ctx{"k": {"a"}, "aws:tagkeys": {"a", "b"}}, false},
		{docVariables, "not closed", `{"StringEquals":{"k":"${a"}}`, ctx{"k": {"${a"}}, true},
	}
	for _, tt := range tests {
		t.Run(tt.source+"/"+tt.name, func(t *testing.T) {
			d, err := Parse(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":` + tt.condition + `}}`)
			if err != nil {
				t.Fatal(err)
			}
			if got := d.Evaluate(Request{Action: "a:b", Resource: "*", Context: tt.ctx}) == Allowed; got != tt.holds {
				t.Errorf("holds = %v", got)
			}
		})
	}
}

func TestResources(t *testing.T) {
	ctx := map[string][]string{"aws:username": {"David"}, "aws:principaltag/team": {"*"}}
	tests := []struct {
		source, element, arn string
		version              string
		covers               bool
	}{
		{docVariables, `"Resource":"arn:aws:s3:::mybucket/${aws:username}/*"`, "arn:aws:s3:::mybucket/David/a/b", "2012-10-17", true},
		{docVariables, `"Resource":"arn:aws:s3:::mybucket/${aws:username}/*"`, "arn:aws:s3:::mybucket/Bob/a", "2012-10-17", false},
		{docVariables, `"Resource":"arn:aws:s3:::mybucket/${aws:username}/*"`, "arn:aws:s3:::mybucket/David/a", "2008-10-17", false},
		{docVariables, `"Resource":"arn:aws:s3:::mybucket/${aws:username}"`, "arn:aws:s3:::mybucket/${aws:username}", "2008-10-17", true},
		{docVariables, `"Resource":"arn:aws:sqs:us-east-2:*:${aws:username}-queue"`, "arn:aws:sqs:us-east-2:123456789012:David-queue", "2012-10-17", true},
		{docVariables, `"Resource":"arn:aws:s3:::bucket/${aws:PrincipalTag/department}"`, "arn:aws:s3:::bucket/${aws:PrincipalTag/department}", "2012-10-17", false},
		{docVariables, `"NotResource":"arn:aws:s3:::bucket/${aws:PrincipalTag/department}"`, "arn:aws:s3:::bucket/x", "2012-10-17", true},
		{docVariables, `"Resource":"arn:aws:s3:::DOC-EXAMPLE-BUCKET-${aws:PrincipalTag/department, 'company-wide'}"`, "arn:aws:s3:::DOC-EXAMPLE-BUCKET-company-wide", "2012-10-17", true},
		{docVariables, `"Resource":"arn:aws:s3:::bucket/${aws:PrincipalTag/team}"`, "arn:aws:s3:::bucket/x", "2012-10-17", false},
		{docVariables, `"Resource":"arn:aws:iam::${aws:username}:user/x"`, "arn:aws:iam::David:user/x", "2012-10-17", false},
		{docResource, `"Resource":"arn:aws:s3:::DOC-EXAMPLE-BUCKET/*/test/*"`, "arn:aws:s3:::DOC-EXAMPLE-BUCKET/1/2/test/object.jpg", "2012-10-17", true},
		{unverified, `"Resource":"arn:aws:sqs"`, "arn:aws:sqs:us-east-1:123456789012:q", "2012-10-17", true},
		{unverified, `"Resource":"arn:aws:sqs:us-east-1"`, "arn:aws:sqs:us-west-2:123456789012:q", "2012-10-17", false},
		{docResource, `"Resource":"arn:aws:iam::123456789012:user/Bob"`, "arn:aws:iam::123456789012:user/bob", "2012-10-17", false},
		{docResource, `"Resource":[]`, "arn:aws:sqs:us-east-1:123456789012:q", "2012-10-17", false},
		{docResource, `"Resource":"arn:aws:eks:*:*:cluster/*"`, "*", "2012-10-17", false},
		{docResource, `"Resource":"arn:aws:s3:::b/?"`, "arn:aws:s3:::b/é", "2012-10-17", true},
	}
	for _, tt := range tests {
		d, err := Parse(`{"Version":"` + tt.version + `","Statement":{"Effect":"Allow","Action":"*",` + tt.element + `}}`)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Evaluate(Request{Action: "a:b", Resource: tt.arn, Context: ctx}) == Allowed; got != tt.covers {
			t.Errorf("%s (%s) covers %s = %v", tt.element, tt.version, tt.arn, got)
		}
	}
}
