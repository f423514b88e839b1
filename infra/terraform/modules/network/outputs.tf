output "vpc_id" {
  description = "Id of the VPC."
  value       = aws_vpc.this.id
}

output "subnets" {
  description = "Private subnets in the order of the zones: id, arn, cidr."
  value = [for zone in var.zones : {
    id   = aws_subnet.private[zone].id
    arn  = aws_subnet.private[zone].arn
    cidr = aws_subnet.private[zone].cidr_block
  }]
}

output "nodes_security_group" {
  description = "Security group of Ray's nodes: id, arn."
  value       = { id = aws_security_group.nodes.id, arn = aws_security_group.nodes.arn }
}

output "spark_security_group_id" {
  description = "Id of Spark's security group."
  value       = aws_security_group.spark.id
}

output "interface_endpoints" {
  description = "Interface endpoints: service → what for."
  value       = local.interface_endpoints
}
