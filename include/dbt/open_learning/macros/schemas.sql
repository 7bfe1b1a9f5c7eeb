{#
  <target schema>_<layer>[_<suffix>]: the layer is the folder's +schema, the suffix a developer's or a pull request's own (OL_SCHEMA_SUFFIX).
  Refuses a model without a layer, a branch without a suffix and production with one.
#}
{% macro generate_schema_name(custom_schema_name, node) -%}
  {%- set suffix = env_var('OL_SCHEMA_SUFFIX', '') | trim -%}
  {%- if target.name == 'branch' and not suffix -%}
    {{ exceptions.raise_compiler_error("OL_SCHEMA_SUFFIX: found nothing; target branch writes only its own schemas; for example: OL_SCHEMA_SUFFIX=pr_1523") }}
  {%- elif target.name == 'production' and suffix -%}
    {{ exceptions.raise_compiler_error("OL_SCHEMA_SUFFIX: found '" ~ suffix ~ "'; production takes none") }}
  {%- elif custom_schema_name is none and node.resource_type == 'model' -%}
    {{ exceptions.raise_compiler_error(node.name ~ ": no +schema; every model's folder names its layer in dbt_project.yml") }}
  {%- endif -%}
  {{- [target.schema, custom_schema_name or '', suffix] | select | join('_') -}}
{%- endmacro %}
