{# The columns of a query, in order, as [{name, data_type}], with full types such as decimal(38,9). Reads no rows and makes no table. #}
{% macro query_columns(sql) %}
  {%- set names = get_columns_in_query(sql) -%}
  {%- set query -%}
    select {% for name in names %}typeof(query."{{ name }}") as "{{ name }}"{{ ', ' if not loop.last }}{% endfor %}
    from (values 1) as one_row (one)
    left join (select * from ({{ sql }}) where false) as query on true
  {%- endset -%}
  {%- set types = run_query(query).rows[0] -%}
  {%- set columns = [] -%}
  {%- for name in names -%}
    {%- do columns.append({'name': name | lower, 'data_type': types[loop.index0]}) -%}
  {%- endfor -%}
  {{ return(columns) }}
{% endmacro %}

{#
  Compares a model's columns with its contract by their full types. dbt-trino compares the words before the bracket only, so decimal(38,9) passes for
  decimal(10,2) and a timestamp with time zone for one without. The length of a varchar does not count: Iceberg stores none.
#}
{% macro trino__get_assert_columns_equivalent(sql) %}
  {%- set declared = [] -%}
  {%- for column in model['columns'].values() -%}
    {%- if not column['data_type'] -%}
      {{ exceptions.raise_compiler_error(model.name ~ ": " ~ column['name'] ~ ": no data_type; a contract gives one for every column") }}
    {%- endif -%}
    {%- do declared.append(_contract_column(column['name'], column['data_type'])) -%}
  {%- endfor -%}
  {%- set found = [] -%}
  {%- for column in query_columns(sql) -%}
    {%- do found.append(_contract_column(column['name'], column['data_type'])) -%}
  {%- endfor -%}
  {%- if declared | map(attribute='formatted') | sort != found | map(attribute='formatted') | sort -%}
    {%- do exceptions.raise_contract_error(declared, found) -%}
  {%- endif -%}
{% endmacro %}

{% macro _contract_column(name, data_type) %}
  {%- set type = data_type | lower | replace(', ', ',') -%}
  {%- set type = 'varchar' if type.startswith('varchar') else type -%}
  {{ return({'name': name | lower, 'data_type': type, 'formatted': name | lower ~ ' ' ~ type}) }}
{% endmacro %}
