output "head_instance_id" {
  description = "Id of the head's instance."
  value       = aws_instance.head.id
}

output "head_instance_arn" {
  description = "ARN of the head's instance."
  value       = aws_instance.head.arn
}

output "head_address" {
  description = "Private address of the head."
  value       = aws_network_interface.head.private_ip
}

output "launch_template_arns" {
  description = "ARNs of the workers' launch templates."
  value       = [for template in aws_launch_template.worker : template.arn]
}

output "cluster_config_key" {
  description = "Key of the autoscaler's configuration in the bucket."
  value       = aws_s3_object.cluster.key
}

output "cluster_config" {
  description = "The autoscaler's configuration, YAML."
  value       = aws_s3_object.cluster.content
}

output "user_data" {
  description = "User data of head and worker."
  value       = local.user_data
}

output "job_document" {
  description = "SSM document for jobs on the head: name, arn."
  value       = { name = aws_ssm_document.job.name, arn = aws_ssm_document.job.arn }
}
