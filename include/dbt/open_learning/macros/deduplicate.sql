{#
  One row per key of a raw table that appends: the newest by the source's own cursor, then by extraction. Appending syncs deliver at least once and keep
  every version of a row. `order_by` lists the cursor columns, newest wins, nulls last.
#}
{% macro deduplicate(relation, key, order_by=[]) -%}
  (
    select *
    from (
      select
        *,
        row_number() over (
          partition by {{ key | join(', ') }}
          order by {% for column in order_by %}{{ column }} desc, {% endfor %}_airbyte_extracted_at desc, _airbyte_raw_id desc
        ) as version_rank
      from {{ relation }}
    )
    where version_rank = 1
  )
{%- endmacro %}
