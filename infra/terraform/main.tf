provider "aws" {
  region = var.region

  default_tags {
    tags = local.tags
  }
}

locals {
  tags = { project = var.project, cluster = var.cluster }

  source_key = "${module.storage.prefixes.source}${var.graph_source}"
  graph_key  = "${module.storage.prefixes.graph}${var.graph_name}"

  # embed_entities finds its work done where the graph has not changed.
  job_command = coalesce(var.job_command, join(" && ", [
    "python jobs/embed_entities.py --config ${var.config} graph.uri=$GRAPH_URI",
    "python jobs/generate.py --config ${var.config} graph.uri=$GRAPH_URI run.uri=$RUN_URI",
    "/opt/medreason/job expire $RUN_URI",
  ]))

  quota_needed    = var.max_workers * var.workers[0].cpus
  head_image_id   = try(nonsensitive(data.aws_ssm_parameter.image["head"].value), var.head_image_id)
  worker_image_id = try(nonsensitive(data.aws_ssm_parameter.image["worker"].value), var.worker_image_id)
}

# Both images are Amazon Linux 2023, so that one packed environment runs on both.
data "aws_ssm_parameter" "image" {
  for_each = {
    for role, image in {
      head   = { id = var.head_image_id, parameter = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64" }
      worker = { id = var.worker_image_id, parameter = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id" }
    } : role => image.parameter if image.id == null
  }

  name = each.value
}

data "aws_ec2_instance_type_offerings" "workers" {
  location_type = "availability-zone"

  filter {
    name   = "instance-type"
    values = var.workers[*].type
  }

  filter {
    name   = "location"
    values = var.zones
  }

  lifecycle {
    postcondition {
      condition     = length(setsubtract(var.workers[*].type, self.instance_types)) == 0
      error_message = "workers: ${join(", ", setsubtract(var.workers[*].type, self.instance_types))} cannot be had in ${join(", ", var.zones)}. Name other zones or types; `aws ec2 describe-instance-type-offerings --location-type availability-zone` lists them."
    }
  }
}

# Outside of the check: a data source inside is planned to be read at every apply, so that no plan would be empty. The codes
# are vCPUs of G and VT, or of P instances.
data "aws_servicequotas_service_quota" "gpu" {
  count = var.check_gpu_quota ? 1 : 0

  service_code = "ec2"
  quota_code = {
    spot-g      = "L-3819A6DF"
    spot-p      = "L-7212CCBC"
    on-demand-g = "L-DB2E81BA"
    on-demand-p = "L-417A185B"
  }["${var.markets[0]}-${substr(var.workers[0].type, 0, 1)}"]
}

# Warns and goes on: a request for more may be under way.
check "gpu_quota" {
  assert {
    condition     = alltrue([for quota in data.aws_servicequotas_service_quota.gpu : quota.value >= local.quota_needed])
    error_message = "max_workers = ${var.max_workers}: ${var.workers[0].type} needs ${local.quota_needed} vCPUs of ${join("", data.aws_servicequotas_service_quota.gpu[*].quota_name)}, the account may have ${join("", data.aws_servicequotas_service_quota.gpu[*].value)}. Ask for more under Service Quotas, or lower max_workers."
  }
}

resource "aws_iam_service_linked_role" "spot" {
  count = var.create_spot_role ? 1 : 0

  aws_service_name = "spot.amazonaws.com"
}

module "storage" {
  source = "./modules/storage"

  name                    = var.cluster
  bucket                  = var.bucket
  deny_insecure_transport = var.deny_insecure_transport
  completions_days        = var.completions_days
  noncurrent_days         = var.noncurrent_days
  force_destroy           = var.force_destroy
}

module "network" {
  source = "./modules/network"

  name           = var.cluster
  cidr           = var.network_cidr
  zones          = var.zones
  endpoint_zones = var.endpoint_zones
  bucket_arn     = module.storage.bucket_arn
  key_arn        = module.storage.key_arn
  flow_logs      = var.flow_logs
  log_days       = var.log_days
}

module "identity" {
  source = "./modules/identity"

  name                  = var.cluster
  bucket_arn            = module.storage.bucket_arn
  prefixes              = module.storage.prefixes
  key_arn               = module.storage.key_arn
  secret_parameters     = values(var.secret_parameters)
  image_id              = local.worker_image_id
  instance_types        = var.workers[*].type
  launch_template_arns  = module.ray.launch_template_arns
  subnet_arns           = module.network.subnets[*].arn
  security_group_arn    = module.network.nodes_security_group.arn
  head_instance_arn     = module.ray.head_instance_arn
  job_document_arn      = module.ray.job_document.arn
  spark_application_arn = module.spark.application_arn
  topic_arn             = module.schedule.topic_arn
  source_key            = local.source_key
  state_machine_arn     = module.schedule.state_machine_arn
}

module "ray" {
  source = "./modules/ray"

  name                = var.cluster
  tags                = local.tags
  ray_version         = var.ray_version
  bucket              = module.storage.bucket
  prefixes            = module.storage.prefixes
  subnets             = module.network.subnets
  security_group_id   = module.network.nodes_security_group.id
  head_profile        = module.identity.instance_profiles["head"]
  worker_profile      = module.identity.instance_profiles["worker"]
  head_image_id       = local.head_image_id
  worker_image_id     = local.worker_image_id
  head_instance_type  = var.head_instance_type
  head_cpus           = var.head_cpus
  head_disk_gb        = var.head_disk_gb
  head_idle_minutes   = var.head_idle_minutes
  workers             = var.workers
  markets             = var.markets
  max_workers         = var.max_workers
  worker_idle_minutes = var.worker_idle_minutes
  worker_lost_minutes = var.worker_lost_minutes
  worker_disk_gb      = var.worker_disk_gb
  models              = var.models
  secret_parameters   = var.secret_parameters
  job_command         = local.job_command
}

module "spark" {
  source = "./modules/spark"

  name              = var.cluster
  release_label     = var.emr_release
  idle_minutes      = var.spark_idle_minutes
  maximum           = var.spark_maximum
  subnet_ids        = module.network.subnets[*].id
  security_group_id = module.network.spark_security_group_id
  bucket            = module.storage.bucket
  prefixes          = module.storage.prefixes
  graph_source      = "s3://${module.storage.bucket}/${local.source_key}"
  graph_uri         = "s3://${module.storage.bucket}/${local.graph_key}"
  config            = var.config
}

module "schedule" {
  source = "./modules/schedule"

  name                   = var.cluster
  enabled                = var.schedule_enabled
  expression             = var.schedule
  timezone               = var.timezone
  window_minutes         = var.schedule_window_minutes
  bucket                 = module.storage.bucket
  prefixes               = module.storage.prefixes
  source_key             = local.source_key
  graph_key              = local.graph_key
  run_name               = var.run_name
  spark_application_id   = module.spark.application_id
  spark_role_arn         = module.identity.role_arns["spark"]
  spark_job              = module.spark.job
  spark_limit_minutes    = var.spark_limit_minutes
  head_instance_id       = module.ray.head_instance_id
  job_document           = module.ray.job_document.name
  online_limit_minutes   = var.online_limit_minutes
  poll_seconds           = var.poll_seconds
  run_limit_minutes      = var.run_limit_minutes
  state_machine_role_arn = module.identity.role_arns["state-machine"]
  scheduler_role_arn     = module.identity.role_arns["scheduler"]
  key_arn                = module.storage.key_arn
  alert_emails           = var.alert_emails
  budget_usd             = var.budget_usd
  log_days               = var.log_days
}
