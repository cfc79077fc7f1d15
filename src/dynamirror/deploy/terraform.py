"""The same stacks for who deploys with Terraform: it hands CloudFormation our templates.

Terraform has resources of its own for all of this, but the templates then would have a twin that
drifts. What Terraform adds is its plan, its state and its place among what is there already.
Source: the documentation of Terraform's provider ``hashicorp/aws``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dynamirror.config.problems import bare
from dynamirror.deploy import names
from dynamirror.deploy.code import object_url
from dynamirror.deploy.grants import Json
from dynamirror.deploy.stacks import Consumer, Site, Stack

FILE = "main.tf.json"


def main(stacks: Sequence[Stack], file_of: Callable[[Site], str]) -> Json:
    """Return the root module: a provider, the code and a stack for each site.

    ``file_of`` names a site's template, which lies beside it.
    """
    resources: dict[str, Json] = {"aws_cloudformation_stack": {}}
    streams: Json = {}
    code: Json = {}
    objects: Json = {}
    for stack in stacks:
        name, provider = _name(stack.site), f"aws.{_name(stack.site)}"
        resources["aws_cloudformation_stack"][name] = {
            "provider": provider,
            "name": stack.name,
            "capabilities": ["CAPABILITY_NAMED_IAM"],
            **_template(stack, file_of(stack.site)),
            "parameters": _parameters(stack),
        }
        for one in stack.consumers:
            table = bare(one.mirror.source.table)
            streams[f"{name}_{one.id}"] = {"provider": provider, "name": table}
        if stack.consumers:
            bucket = f'${{var.code_buckets["{name}"]}}'
            code[name] = {
                "provider": provider,
                "bucket": bucket,
                "key": f"{stack.name}/${{filesha256(var.code_zip)}}.zip",
                "source": "${var.code_zip}",
            }
            path = f"${{path.module}}/{file_of(stack.site)}"
            objects[f"{name}_template"] = {
                "provider": provider,
                "bucket": bucket,
                "key": f'{stack.name}/${{filesha256("{path}")}}.json',
                "source": path,
            }
    if code:
        resources["aws_s3_object"] = {**code, **objects}
    return {
        "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws"}}},
        "provider": {"aws": [_provider(stack.site) for stack in stacks]},
        "variable": _variables(code, [one for stack in stacks for one in stack.consumers]),
        **({"data": {"aws_dynamodb_table": streams}} if streams else {}),
        "resource": resources,
    }


def _template(stack: Stack, file: str) -> Json:
    """Return where a stack's template is: in the bucket, for a request has no room for a large
    one; one without functions is small, and has no bucket.
    """
    if not stack.consumers:
        return {"template_body": f'${{file("${{path.module}}/{file}")}}'}
    of = f"aws_s3_object.{_name(stack.site)}_template"
    return {"template_url": object_url(stack.site, f"${{{of}.bucket}}", f"${{{of}.key}}")}


def _parameters(stack: Stack) -> Json:
    name, parameters = _name(stack.site), {}
    if stack.consumers:
        parameters["CodeBucket"] = f"${{aws_s3_object.{name}.bucket}}"
        parameters["CodeKey"] = f"${{aws_s3_object.{name}.key}}"
    for secret in (secret for one in stack.consumers for secret in one.secrets):
        parameters[names.secret_id(secret)] = f'${{var.secrets["{secret}"]}}'
    for one in stack.consumers:
        table = f"data.aws_dynamodb_table.{name}_{one.id}"
        parameters[f"{one.id}StreamArn"] = f"${{{table}.stream_arn}}"
        parameters[f"{one.id}Enabled"] = "${var.enabled}"
    if any(not site.account for writer in stack.writers for site, _ in writer.callers):
        parameters["MirrorAccount"] = "${var.mirror_account}"
    return parameters


def _variables(code: Json, consumers: Sequence[Consumer]) -> Json:
    told: Json = {
        "enabled": {
            "type": "bool",
            "default": False,
            "description": "Whether streams are followed; for guards order and item after the"
            " backfill",
        },
        "mirror_account": {
            "type": "string",
            "default": "",
            "description": "The account of the functions, for roles in others",
        },
    }
    if code:
        told["code_zip"] = {"type": "string", "description": "What `dynamirror package` made"}
        told["code_buckets"] = {
            "type": "map(string)",
            "description": f"A bucket for it in each region, by: {', '.join(code)}",
        }
    if secrets := sorted({secret for one in consumers for secret in one.secrets}):
        told["secrets"] = {
            "type": "map(string)",
            "sensitive": True,
            "description": f"What masked values are hashed with: {', '.join(secrets)}",
        }
    return told


def _provider(site: Site) -> Json:
    told: Json = {"alias": _name(site), "region": site.region}
    if site.account:
        told["allowed_account_ids"] = [site.account]
    return told


def _name(site: Site) -> str:
    words = [f"account_{site.account}"] if site.account else []
    return "_".join([*words, site.region.replace("-", "_")])
