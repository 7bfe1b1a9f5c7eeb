{#
  dbt-trino creates a table with an enforced contract in two statements, an empty table and an insert, so readers see it empty in between and a killed
  run leaves it so. Here the columns are compared with the contract first and the table is then created from the query, in the contract's column order,
  in one commit. Models without a contract are created as dbt-trino does it. NOT NULL is a matter of tests, since CREATE TABLE AS cannot declare it.
#}
{% macro trino__create_table_as(temporary, relation, sql, on_exists=None) -%}
  {%- set or_replace = ' or replace' if on_exists == 'replace' else '' -%}
  {%- set if_not_exists = ' if not exists' if on_exists == 'skip' else '' -%}
  create{{ or_replace }} table{{ if_not_exists }} {{ relation }}
    {% if config.get('contract').enforced -%}
      {{ get_assert_columns_equivalent(sql) }}
      {%- set sql = get_select_subquery(sql) -%}
    {%- endif %}
    {{ comment(model.get('description')) }}
    {{ properties(temporary) }}
  as (
    {{ sql }}
  )
{%- endmacro %}
