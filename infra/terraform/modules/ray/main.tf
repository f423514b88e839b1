data "aws_region" "current" {}

locals {
  region = data.aws_region.current.name

  # Instance type × market. The name is Ray's node type, so no dots.
  worker_types = merge([
    for m, market in var.markets : {
      for t, worker in var.workers : "${replace(worker.type, ".", "-")}-${market}" => {
        instance_type    = worker.type
        cpus             = worker.cpus
        gpus             = worker.gpus
        priority         = 10 * (length(var.markets) - m) + length(var.workers) - t
        template_id      = aws_launch_template.worker[market].id
        template_version = tostring(aws_launch_template.worker[market].latest_version)
      }
    }
  ]...)

  node_env = {
    region       = local.region
    bucket       = var.bucket
    prefixes     = var.prefixes
    models       = var.models
    secrets      = var.secret_parameters
    ray_version  = var.ray_version
    head_address = aws_network_interface.head.private_ip
    head_cpus    = var.head_cpus
  }

  # Role → cloud-init's configuration. The scripts are the same on all nodes, node.env says what a node is.
  user_data = {
    for role, idle_minutes in { head = var.head_idle_minutes, worker = var.worker_lost_minutes } : role => join("\n", [
      "#cloud-config",
      yamlencode({
        users = ["default", { name = "ray", shell = "/sbin/nologin" }]
        write_files = [
          for path, file in {
            "/etc/medreason/node.env" = {
              permissions = "0644"
              content     = templatefile("${path.module}/templates/node.env.tftpl", merge(local.node_env, { role = role, idle_minutes = idle_minutes }))
            }
            "/opt/medreason/node"                    = { permissions = "0755", content = file("${path.module}/files/node") }
            "/opt/medreason/job"                     = { permissions = "0755", content = file("${path.module}/files/job") }
            "/etc/systemd/system/ray.service"        = { permissions = "0644", content = file("${path.module}/files/ray.service") }
            "/etc/systemd/system/node-watch.service" = { permissions = "0644", content = file("${path.module}/files/node-watch.service") }
            "/etc/systemd/system/node-watch.timer"   = { permissions = "0644", content = file("${path.module}/files/node-watch.timer") }
          } : merge(file, { path = path })
        ]
        runcmd = [
          "systemctl daemon-reload",
          "systemctl enable --now node-watch.timer",
          # It waits for downloads, and the rest of the boot does not wait for it.
          "systemctl enable --now --no-block ray.service",
        ]
      }),
    ])
  }
}

# The head's address belongs to this interface: it outlives restarts of the head, and a head that replaces another.
resource "aws_network_interface" "head" {
  description     = "${var.name}: head"
  subnet_id       = var.subnets[0].id
  private_ips     = [cidrhost(var.subnets[0].cidr, 10)]
  security_groups = [var.security_group_id]

  tags = { Name = "${var.name}-head" }
}

resource "aws_instance" "head" {
  #checkov:skip=CKV_AWS_126:figures by the minute cost by the month, and a head that stands idle is stopped
  ami                                  = var.head_image_id
  instance_type                        = var.head_instance_type
  iam_instance_profile                 = var.head_profile
  ebs_optimized                        = true
  instance_initiated_shutdown_behavior = "stop"
  user_data_base64                     = base64encode(local.user_data["head"])
  # cloud-init reads it at the first boot only. A head keeps nothing: its logs go to the bucket at every stop.
  user_data_replace_on_change = true

  network_interface {
    network_interface_id = aws_network_interface.head.id
    device_index         = 0
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  # Encrypted with the account's own key for disks: with one of ours every role that starts an instance would need grants.
  root_block_device {
    volume_type           = "gp3"
    volume_size           = var.head_disk_gb
    encrypted             = true
    delete_on_termination = true
  }

  tags = merge(var.tags, {
    Name               = "${var.name}-head"
    ray-cluster-name   = var.name
    ray-node-type      = "head"
    ray-user-node-type = "head"
    ray-node-status    = "up-to-date"
  })

  lifecycle {
    # A newer image of the day is no reason to end a head that may be at work.
    ignore_changes = [ami]
  }
}

resource "aws_launch_template" "worker" {
  for_each = toset(var.markets)

  name                                 = "${var.name}-worker-${each.key}"
  description                          = "Ray workers (${each.key}) of ${var.name}, started by the head's autoscaler"
  image_id                             = var.worker_image_id
  vpc_security_group_ids               = [var.security_group_id]
  ebs_optimized                        = true
  instance_initiated_shutdown_behavior = "terminate"
  update_default_version               = true
  user_data                            = base64encode(local.user_data["worker"])

  iam_instance_profile {
    name = var.worker_profile
  }

  dynamic "instance_market_options" {
    for_each = each.key == "spot" ? [true] : []

    content {
      market_type = "spot"

      spot_options {
        spot_instance_type             = "one-time"
        instance_interruption_behavior = "terminate"
      }
    }
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    # Ray's node type is read from the tag that the autoscaler set.
    instance_metadata_tags = "enabled"
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = var.worker_disk_gb
      throughput            = 500
      encrypted             = true
      delete_on_termination = true
    }
  }

  dynamic "tag_specifications" {
    for_each = toset(concat(["instance", "volume", "network-interface"], each.key == "spot" ? ["spot-instances-request"] : []))

    content {
      resource_type = tag_specifications.value
      tags          = merge(var.tags, { Name = "${var.name}-worker-${each.key}" })
    }
  }
}

resource "aws_s3_object" "cluster" {
  #checkov:skip=CKV_AWS_186:the bucket encrypts with its own KMS key
  bucket       = var.bucket
  key          = "${var.prefixes.environments}cluster.yaml"
  content_type = "application/yaml"
  content = templatefile("${path.module}/templates/cluster.yaml.tftpl", {
    cluster_name         = var.name
    region               = local.region
    max_workers          = var.max_workers
    idle_timeout_minutes = var.worker_idle_minutes
    head_cpus            = var.head_cpus
    subnet_ids           = var.subnets[*].id
    worker_types         = local.worker_types
    tags                 = var.tags
  })
}

# All that the schedule may do on the head: three words and an id, not a shell.
resource "aws_ssm_document" "job" {
  name            = "${var.name}-job"
  document_type   = "Command"
  document_format = "JSON"

  content = jsonencode({
    schemaVersion = "2.2"
    description   = "Submits, watches and stops jobs on the head of ${var.name}"
    parameters = {
      action       = { type = "String", allowedValues = ["submit", "status", "stop"] }
      submissionId = { type = "String", allowedPattern = "^[A-Za-z0-9_-]{1,100}$" }
      runUri       = { type = "String", allowedPattern = "^s3://[A-Za-z0-9._/-]+$" }
      graphUri     = { type = "String", allowedPattern = "^s3://[A-Za-z0-9._/-]+$" }
    }
    mainSteps = [{
      name   = "job"
      action = "aws:runShellScript"
      inputs = {
        timeoutSeconds = "1800"
        runCommand = [
          "export RUN_URI='{{ runUri }}' GRAPH_URI='{{ graphUri }}' COMMAND",
          "COMMAND=$(cat <<'END_OF_COMMAND'\n${var.job_command}\nEND_OF_COMMAND\n)",
          "/opt/medreason/job {{ action }} '{{ submissionId }}'",
        ]
      }
    }]
  })
}
