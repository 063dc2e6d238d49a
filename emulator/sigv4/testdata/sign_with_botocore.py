"""Writes botocore.json: requests as botocore signs them, on 2026-03-01 12:00 UTC.

    pip install botocore && python3 sign_with_botocore.py
"""
import datetime
import json

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

NOW = datetime.datetime(2026, 3, 1, 12)
botocore.auth.get_current_datetime = lambda remove_tzinfo=True: NOW


def signed(signer, name, method, url, headers, service, region="us-east-1", token=None, data=""):
    request = AWSRequest(method=method, url=url, data=data, headers=dict(headers))
    signer(Credentials("test", "test", token), service, region).add_auth(request)
    prepared = request.prepare()
    sent = headers if signer is presigner else prepared.headers
    sent = {k: v.decode() if isinstance(v, bytes) else v for k, v in sent.items()}
    return dict(name=name, method=method, url=prepared.url, headers=sent, body=data)


def presigner(credentials, service, region):
    return botocore.auth.SigV4QueryAuth(credentials, service, region, expires=60)


def in_header(*args, **kwargs):
    return signed(botocore.auth.SigV4Auth, *args, **kwargs)


def in_query(name, url, headers, **kwargs):
    return signed(presigner, name, "GET", url, headers, "sts", **kwargs)


LOCAL = "http://localhost:4566"
FORM = "Action=GetCallerIdentity&Version=2011-06-15"
vectors = [
    in_header("query POST", "POST", "http://127.0.0.1:4566/", {
        "Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "User-Agent": "aws-cli/1"}, "sts", data=FORM),
    in_header("arn in path", "GET", LOCAL + "/clusters/dev/access-entries/arn%3Aaws%3Aiam%3A%3A000000000000%3Arole%2Fa%20b", {}, "eks", "eu-west-1"),
    in_header("rest query", "GET", LOCAL + "/addons/supported-versions?maxResults=10&addonName=vpc-cni&owners=a%20b&owners=a%2Bb&owners=A~z%2F%C3%BC", {}, "eks"),
    in_header("tags with braces", "DELETE", LOCAL + "/tags/arn%3Aaws%3Aeks%3Aus-east-1%3A000000000000%3Acluster%2Fdev?tagKeys=b&tagKeys=a&tagKeys=%7Bx%7D", {}, "eks"),
    in_header("host in capitals, default port", "GET", "http://LocalHost:80/clusters", {}, "eks"),
    in_header("dot segments and unreserved", "GET", LOCAL + "/clusters/./x//y/../-_.~/", {}, "eks"),
    in_header("spaces in headers, UTF-8 body", "POST", LOCAL + "/", {
        "X-Amz-Target": "AmazonSSM.GetParameter", "X-Amz-Foo": "  a   b  c ", "Content-Type": "application/x-amz-json-1.1"}, "ssm", data='{"a": "\u00fc"}'),
    in_header("session token", "GET", LOCAL + "/clusters", {}, "eks", token="TOKEN/+="),
    in_query("get-token", "https://sts.us-east-1.amazonaws.com/?" + FORM, {"x-k8s-aws-id": "dev"}),
    in_query("get-token with session", "http://127.0.0.1:4566/?" + FORM, {"x-k8s-aws-id": "dev"}, token="TOKEN/+="),
]
with open("botocore.json", "w") as f:
    json.dump(vectors, f, indent=1, ensure_ascii=False)
    f.write("\n")
