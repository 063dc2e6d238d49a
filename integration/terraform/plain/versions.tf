terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.0"
    }
  }
}

# Endpoint, key and secret come from the environment, as `ekslocal env` sets it.
provider "aws" {
  region = "us-east-1"

  default_tags {
    tags = { environment = "test" }
  }
}
