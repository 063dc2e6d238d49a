variable "name" { type = string }
variable "cidr" { type = string }
variable "azs" { type = list(string) }
variable "public_subnet_tags" { type = map(string) }
variable "private_subnet_tags" { type = map(string) }
variable "tags" { type = map(string) }

locals {
  private = [for i, _ in var.azs : cidrsubnet(var.cidr, 4, i)]
  public  = [for i, _ in var.azs : cidrsubnet(var.cidr, 8, i + 48)]
  intra   = [for i, _ in var.azs : cidrsubnet(var.cidr, 8, i + 52)]
}

resource "aws_vpc" "this" {
  cidr_block                       = var.cidr
  instance_tenancy                 = "default"
  enable_dns_hostnames             = true
  enable_dns_support               = true
  assign_generated_ipv6_cidr_block = null
  tags                             = merge({ "Name" = var.name }, var.tags)
}

resource "aws_subnet" "public" {
  count = length(local.public)

  availability_zone                              = var.azs[count.index]
  cidr_block                                     = element(local.public, count.index)
  map_public_ip_on_launch                        = false
  enable_resource_name_dns_a_record_on_launch    = false
  enable_resource_name_dns_aaaa_record_on_launch = null
  private_dns_hostname_type_on_launch            = null
  vpc_id                                         = aws_vpc.this.id
  tags                                           = merge({ Name = format("${var.name}-public-%s", element(var.azs, count.index)) }, var.tags, var.public_subnet_tags)
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id
  tags   = merge({ "Name" = "${var.name}-public" }, var.tags)
}

resource "aws_route_table_association" "public" {
  count = length(local.public)

  subnet_id      = element(aws_subnet.public[*].id, count.index)
  route_table_id = aws_route_table.public.id
}

resource "aws_route" "public_internet_gateway" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id

  timeouts {
    create = "5m"
  }
}

resource "aws_subnet" "private" {
  count = length(local.private)

  availability_zone                           = var.azs[count.index]
  cidr_block                                  = element(local.private, count.index)
  enable_resource_name_dns_a_record_on_launch = false
  vpc_id                                      = aws_vpc.this.id
  tags                                        = merge({ Name = format("${var.name}-private-%s", element(var.azs, count.index)) }, var.tags, var.private_subnet_tags)
}

# A single NAT gateway, but a private route table all the same for each zone.
resource "aws_route_table" "private" {
  count = length(local.private)

  vpc_id = aws_vpc.this.id
  tags   = merge({ "Name" = format("${var.name}-private-%s", element(var.azs, count.index)) }, var.tags)
}

resource "aws_route_table_association" "private" {
  count = length(local.private)

  subnet_id      = element(aws_subnet.private[*].id, count.index)
  route_table_id = element(aws_route_table.private[*].id, count.index)
}

resource "aws_subnet" "intra" {
  count = length(local.intra)

  availability_zone = var.azs[count.index]
  cidr_block        = element(local.intra, count.index)
  vpc_id            = aws_vpc.this.id
  tags              = merge({ Name = format("${var.name}-intra-%s", element(var.azs, count.index)) }, var.tags)
}

resource "aws_route_table" "intra" {
  vpc_id = aws_vpc.this.id
  tags   = merge({ "Name" = "${var.name}-intra" }, var.tags)
}

resource "aws_route_table_association" "intra" {
  count = length(local.intra)

  subnet_id      = element(aws_subnet.intra[*].id, count.index)
  route_table_id = aws_route_table.intra.id
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = merge({ "Name" = var.name }, var.tags)
}

resource "aws_eip" "nat" {
  count = 1

  domain     = "vpc"
  tags       = merge({ "Name" = format("${var.name}-%s", element(var.azs, 0)) }, var.tags)
  depends_on = [aws_internet_gateway.this]
}

resource "aws_nat_gateway" "this" {
  count = 1

  allocation_id = aws_eip.nat[0].id
  subnet_id     = aws_subnet.public[0].id
  tags          = merge({ "Name" = format("${var.name}-%s", element(var.azs, 0)) }, var.tags)
  depends_on    = [aws_internet_gateway.this]
}

resource "aws_route" "private_nat_gateway" {
  count = length(local.private)

  route_table_id         = element(aws_route_table.private[*].id, count.index)
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = element(aws_nat_gateway.this[*].id, 0)

  timeouts {
    create = "5m"
  }
}

resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
  tags   = merge({ "Name" = "${var.name}-default" }, var.tags)
}

resource "aws_default_network_acl" "this" {
  default_network_acl_id = aws_vpc.this.default_network_acl_id
  subnet_ids             = null

  dynamic "ingress" {
    for_each = { 100 = "0.0.0.0/0" }
    content {
      action     = "allow"
      cidr_block = ingress.value
      from_port  = 0
      protocol   = "-1"
      rule_no    = ingress.key
      to_port    = 0
    }
  }

  ingress {
    action          = "allow"
    ipv6_cidr_block = "::/0"
    from_port       = 0
    protocol        = "-1"
    rule_no         = 101
    to_port         = 0
  }

  egress {
    action     = "allow"
    cidr_block = "0.0.0.0/0"
    from_port  = 0
    protocol   = "-1"
    rule_no    = 100
    to_port    = 0
  }

  egress {
    action          = "allow"
    ipv6_cidr_block = "::/0"
    from_port       = 0
    protocol        = "-1"
    rule_no         = 101
    to_port         = 0
  }

  tags = merge({ "Name" = "${var.name}-default" }, var.tags)

  lifecycle {
    ignore_changes = [subnet_ids]
  }
}

resource "aws_default_route_table" "default" {
  default_route_table_id = aws_vpc.this.default_route_table_id

  timeouts {
    create = "5m"
    update = "5m"
  }

  tags = merge({ "Name" = "${var.name}-default" }, var.tags)
}

output "vpc_id" { value = aws_vpc.this.id }
output "private_subnets" { value = aws_subnet.private[*].id }
output "intra_subnets" { value = aws_subnet.intra[*].id }
