output "bucket" {
  description = "Name of the bucket."
  value       = module.storage.bucket
}

output "places" {
  description = "What lies where in the bucket."
  value       = { for name, prefix in module.storage.prefixes : name => "s3://${module.storage.bucket}/${prefix}" }
}

output "head_instance_id" {
  description = "Instance of Ray's head."
  value       = module.ray.head_instance_id
}

output "cluster_config_key" {
  description = "Key of the autoscaler's configuration in the bucket."
  value       = module.ray.cluster_config_key
}

output "state_machine_arn" {
  description = "State machine of the scheduled run."
  value       = module.schedule.state_machine_arn
}

output "start_command" {
  description = "Starts the head."
  value       = "aws ec2 start-instances --region ${var.region} --instance-ids ${module.ray.head_instance_id}"
}

output "dashboard_command" {
  description = "Opens Ray's dashboard and job server at http://127.0.0.1:8265, for those whom IAM allows a session."
  value       = "aws ssm start-session --region ${var.region} --target ${module.ray.head_instance_id} --document-name AWS-StartPortForwardingSession --parameters portNumber=8265,localPortNumber=8265"
}

output "submit_command" {
  description = "Submits a run through that session."
  value       = "ray job submit --address http://127.0.0.1:8265 --working-dir . -- python jobs/generate.py --config ${var.config} graph.uri=s3://${module.storage.bucket}/${local.graph_key} run.uri=s3://${module.storage.bucket}/${module.storage.prefixes.runs}NAME"
}

output "execute_command" {
  description = "Starts the scheduled run by hand."
  value       = "aws stepfunctions start-execution --region ${var.region} --state-machine-arn ${module.schedule.state_machine_arn}"
}
