{# A 32-digit hexadecimal key over expressions of any type. The JSON array keeps null apart from '' and ('a', 'bc') apart from ('ab', 'c'). #}
{% macro surrogate_key(expressions) -%}
  lower(to_hex(md5(to_utf8(json_format(cast(array[
    {%- for expression in expressions %}cast({{ expression }} as varchar){{ ', ' if not loop.last }}{% endfor -%}
  ] as json))))))
{%- endmacro %}

{# What identifies a mailbox: lower case, without surrounding blanks; null when nothing is left. #}
{% macro email_identity(expression) -%}
  nullif(lower(trim({{ expression }})), '')
{%- endmacro %}

{# A timestamp with time zone as timestamp(6) in UTC. #}
{% macro utc(expression) -%}
  cast(({{ expression }}) at time zone 'UTC' as timestamp(6))
{%- endmacro %}

{# Whether two rows differ in any of the columns; two nulls are equal. #}
{% macro any_distinct(columns, left, right) -%}
  ({% for column in columns %}{{ left }}.{{ column }} is distinct from {{ right }}.{{ column }}{{ ' or ' if not loop.last }}{% endfor %})
{%- endmacro %}
