{#  One scan for what would be a not_null test per column and a uniqueness test over all of them. #}
{% test primary_key(model, columns) %}
  select {{ columns | join(', ') }}, count(*) as occurrences
  from {{ model }}
  group by {{ columns | join(', ') }}
  having count(*) > 1 {% for column in columns %} or {{ column }} is null{% endfor %}
{% endtest %}

{# No column of the list holds a null, in one scan. #}
{% test not_null_columns(model, columns) %}
  select {{ columns | join(', ') }}
  from {{ model }}
  where {% for column in columns %}{{ column }} is null{{ ' or ' if not loop.last }}{% endfor %}
{% endtest %}

{# A combination of columns occurs once; nulls are values here, as in GROUP BY. #}
{% test unique_combination(model, columns) %}
  select {{ columns | join(', ') }}, count(*) as occurrences
  from {{ model }}
  group by {{ columns | join(', ') }}
  having count(*) > 1
{% endtest %}

{# Values lie between two bounds, both included; nulls pass. #}
{% test accepted_range(model, column_name, min_value=none, max_value=none) %}
  select {{ column_name }}
  from {{ model }}
  where false
    {% if min_value is not none %} or {{ column_name }} < {{ min_value }}{% endif %}
    {% if max_value is not none %} or {{ column_name }} > {{ max_value }}{% endif %}
{% endtest %}
