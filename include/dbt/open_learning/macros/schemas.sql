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
  {%- do own_names_only(target.database, target.schema) -%}
  {{- [target.schema, custom_schema_name or '', suffix] | select | join('_') -}}
{%- endmacro %}

{# The catalog of the target; a model that names another one itself is refused where that one belongs to another environment. #}
{% macro generate_database_name(custom_database_name=none, node=none) -%}
  {%- set database = custom_database_name or target.database -%}
  {%- do own_names_only(database, target.schema) -%}
  {{- database -}}
{%- endmacro %}

{#
  Refuses a catalog or a schema with another environment's name, however the profile or a variable came by it: TRINO_CATALOG beside target qa must not
  be production's. The same rule as include/lake/rights.py has for everything that is not dbt.
#}
{% macro own_names_only(database, schema) -%}
  {%- set lakes = {'local': 'local', 'branch': 'qa', 'qa': 'qa', 'production': 'production'} -%}
  {%- set mine = lakes.get(target.name) -%}
  {%- if mine is none -%}
    {{ exceptions.raise_compiler_error("target: found '" ~ target.name ~ "'; allowed: " ~ lakes.keys() | join(', ')) }}
  {%- endif -%}
  {%- for other in lakes.values() | unique if other != mine -%}
    {%- if database == 'ol_data_lake_' ~ other or (schema ~ '_').startswith('ol_warehouse_' ~ other ~ '_') -%}
      {{ exceptions.raise_compiler_error("target " ~ target.name ~ ": found catalog " ~ database ~ " and schemas " ~ schema ~ "_…, which are " ~ other ~ "'s; allowed: its own") }}
    {%- endif -%}
  {%- endfor -%}
{%- endmacro %}
