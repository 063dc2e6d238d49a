# Each variable makes one thing go wrong. The defaults are a VPC with subnets and a
# role, which are quick to make and to take away.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.0"
    }
  }
}

provider "aws" {
  region = "us-east-1"
}

variable "cluster" {
  description = "Whether to make a cluster."
  type        = bool
  default     = false
}

variable "subnets" {
  description = "How many of the subnets the cluster gets."
  type        = number
  default     = 2
}

variable "trusted" {
  description = "Who may take the cluster's role."
  type        = string
  default     = "eks.amazonaws.com"
}

variable "kubernetes_version" {
  type    = string
  default = null
}

resource "aws_vpc" "this" {
  cidr_block = "10.60.0.0/16"
}

resource "aws_subnet" "this" {
  count = 2

  vpc_id            = aws_vpc.this.id
  cidr_block        = cidrsubnet(aws_vpc.this.cidr_block, 8, count.index)
  availability_zone = ["us-east-1a", "us-east-1b"][count.index]
}

resource "aws_iam_role" "cluster" {
  name = "failing"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = var.trusted }, Action = "sts:AssumeRole" }]
  })
}

resource "aws_eks_cluster" "this" {
  count = var.cluster ? 1 : 0

  name     = "failing"
  role_arn = aws_iam_role.cluster.arn
  version  = var.kubernetes_version

  vpc_config {
    subnet_ids = slice(aws_subnet.this[*].id, 0, var.subnets)
  }
}
