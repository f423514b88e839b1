output "role_arns" {
  description = "Roles: head, worker, spark, state-machine, scheduler → ARN. Known once their policies are attached."
  value       = { for name, role in aws_iam_role.this : name => role.arn }
}

output "instance_profiles" {
  description = "Instance profiles: head, worker → name."
  value       = { for name, profile in aws_iam_instance_profile.this : name => profile.name }
}

output "policies" {
  description = "Role → its policies, JSON each."
  value = {
    head          = [data.aws_iam_policy_document.data["head"].json, data.aws_iam_policy_document.node.json, data.aws_iam_policy_document.autoscaler.json]
    worker        = [data.aws_iam_policy_document.data["worker"].json, data.aws_iam_policy_document.node.json]
    spark         = [data.aws_iam_policy_document.data["spark"].json]
    state-machine = [data.aws_iam_policy_document.state_machine.json]
    scheduler     = [data.aws_iam_policy_document.scheduler.json]
  }
}
