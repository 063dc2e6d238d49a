# Takes over what somebody made without Terraform: a cluster with all around it.

terraform {
  required_version = ">= 1.7"
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

variable "vpc" { type = string }

variable "subnets" {
  description = "IDs by availability zone."
  type        = map(string)
}

variable "role" { type = string }

variable "association" {
  description = "ID of the pod identity association."
  type        = string
}

locals {
  arn = "arn:aws:iam::${data.aws_caller_identity.current.account_id}"
}

data "aws_caller_identity" "current" {}

import {
  to = aws_vpc.this
  id = var.vpc
}

resource "aws_vpc" "this" {
  cidr_block = "10.0.0.0/16"
}

import {
  for_each = var.subnets
  to       = aws_subnet.this[each.key]
  id       = each.value
}

resource "aws_subnet" "this" {
  for_each = var.subnets

  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = cidrsubnet(aws_vpc.this.cidr_block, 4, index(sort(keys(var.subnets)), each.key))
}

locals {
  trusting = {
    cluster = { service = "eks.amazonaws.com", policies = ["AmazonEKSClusterPolicy"] }
    node    = { service = "ec2.amazonaws.com", policies = ["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryReadOnly"] }
    pods    = { service = "pods.eks.amazonaws.com", policies = [] }
  }
  attachments = merge([for role, r in local.trusting : { for p in r.policies : "${role}/arn:aws:iam::aws:policy/${p}" => { role = role, policy = p } }]...)
}

import {
  for_each = local.trusting
  to       = aws_iam_role.this[each.key]
  id       = each.key
}

resource "aws_iam_role" "this" {
  for_each = local.trusting

  name = each.key
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = each.value.service }, Action = "sts:AssumeRole" }]
  })
}

import {
  for_each = local.attachments
  to       = aws_iam_role_policy_attachment.this[each.key]
  id       = each.key
}

resource "aws_iam_role_policy_attachment" "this" {
  for_each = local.attachments

  role       = aws_iam_role.this[each.value.role].name
  policy_arn = "arn:aws:iam::aws:policy/${each.value.policy}"
}

import {
  to = aws_eks_cluster.this
  id = "old"
}

resource "aws_eks_cluster" "this" {
  name     = "old"
  role_arn = aws_iam_role.this["cluster"].arn
  version  = "1.34"

  access_config {
    authentication_mode = "API_AND_CONFIG_MAP"
  }

  vpc_config {
    subnet_ids = values(aws_subnet.this)[*].id
  }

  tags = { made = "by hand" }

  # AWS does not tell whether these were asked for.
  lifecycle {
    ignore_changes = [bootstrap_self_managed_addons, access_config[0].bootstrap_cluster_creator_admin_permissions]
  }
}

import {
  to = aws_eks_node_group.this
  id = "old:ng"
}

resource "aws_eks_node_group" "this" {
  cluster_name    = aws_eks_cluster.this.name
  node_group_name = "ng"
  node_role_arn   = aws_iam_role.this["node"].arn
  subnet_ids      = values(aws_subnet.this)[*].id
  instance_types  = ["m5.large"]

  scaling_config {
    min_size     = 0
    desired_size = 1
    max_size     = 10
  }

  depends_on = [aws_iam_role_policy_attachment.this]
}

import {
  to = aws_eks_addon.this
  id = "old:kube-proxy"
}

resource "aws_eks_addon" "this" {
  cluster_name = aws_eks_cluster.this.name
  addon_name   = "kube-proxy"
}

import {
  to = aws_eks_access_entry.this
  id = "old:${local.arn}:role/${var.role}"
}

resource "aws_eks_access_entry" "this" {
  cluster_name      = aws_eks_cluster.this.name
  principal_arn     = "${local.arn}:role/${var.role}"
  kubernetes_groups = ["viewers"]
}

import {
  to = aws_eks_access_policy_association.this
  id = "old#${local.arn}:role/${var.role}#arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
}

resource "aws_eks_access_policy_association" "this" {
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = aws_eks_access_entry.this.principal_arn
  policy_arn    = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"

  access_scope {
    type = "cluster"
  }
}

import {
  to = aws_eks_pod_identity_association.this
  id = "old,${var.association}"
}

resource "aws_eks_pod_identity_association" "this" {
  cluster_name    = aws_eks_cluster.this.name
  namespace       = "default"
  service_account = "app"
  role_arn        = aws_iam_role.this["pods"].arn
}
