{#
  The rows a merge must write so that an incremental fact equals `current_rows`, the relation (usually a CTE) of all rows as the sources have them now.

  - A row that the fact does not have, or has as deleted, is always taken, however late it arrives.
  - A row it has is taken when one of `compared` differs and the row was updated since its platform's watermark less var lookback_days, or when one of
    `resolved` differs: columns computed from other tables (a person's key), which change without an update of the row.
    The watermark is the newest update per platform, joined so that a platform without rows yet has none and everything of it is taken.
  - A row that the sources no longer have is written again, marked deleted.

  All timestamps are compared as timestamps. A second run over the same sources gives no row. `columns` are all columns of the fact but is_deleted.
#}
{% macro fact_changes(current_rows, key, updated_on, columns, resolved=[]) -%}
{%- if not is_incremental() -%}
select {{ columns | join(', ') }}, false as is_deleted
from {{ current_rows }}
{%- else -%}
{%- set compared = columns | reject('in', [key] + resolved) | list -%}
select
  {% for column in columns %}current_rows.{{ column }}, {% endfor %}
  false as is_deleted
from {{ current_rows }} as current_rows
left join (
  select platform, max({{ updated_on }}) as watermark
  from {{ this }}
  group by platform
) as watermarks on watermarks.platform = current_rows.platform
left join {{ this }} as known on known.{{ key }} = current_rows.{{ key }}
where
  known.{{ key }} is null
  or known.is_deleted
  {%- if resolved %}
  or {{ any_distinct(resolved, 'current_rows', 'known') }}
  {%- endif %}
  or (
    (watermarks.watermark is null or current_rows.{{ updated_on }} >= watermarks.watermark - interval '{{ var("lookback_days") | int }}' day)
    and {{ any_distinct(compared, 'current_rows', 'known') }}
  )

union all

select
  {% for column in columns %}known.{{ column }}, {% endfor %}
  true as is_deleted
from {{ this }} as known
left join {{ current_rows }} as current_rows on current_rows.{{ key }} = known.{{ key }}
where current_rows.{{ key }} is null and not known.is_deleted
{%- endif -%}
{%- endmacro %}

{# YYYYMMDD as an integer, the key of dim_date. #}
{% macro date_key(expression) -%}
  cast(date_format({{ expression }}, '%Y%m%d') as integer)
{%- endmacro %}
