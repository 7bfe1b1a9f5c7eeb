-- 2010 to 2030. MIT's fiscal year begins in July and is named after the calendar year it ends in.
select
  {{ date_key('calendar_date') }} as date_key,
  calendar_date,
  year(calendar_date) as calendar_year,
  quarter(calendar_date) as calendar_quarter,
  month(calendar_date) as calendar_month,
  date_format(calendar_date, '%M') as month_name,
  day(calendar_date) as day_of_month,
  day_of_week(calendar_date) as iso_day_of_week,
  date_format(calendar_date, '%W') as day_name,
  week(calendar_date) as iso_week,
  year_of_week(calendar_date) as iso_week_year,
  day_of_week(calendar_date) in (6, 7) as is_weekend,
  year(calendar_date) + if(month(calendar_date) >= 7, 1, 0) as fiscal_year,
  mod(quarter(calendar_date) + 1, 4) + 1 as fiscal_quarter
from unnest(sequence(date '2010-01-01', date '2030-12-31', interval '1' day)) as calendar (calendar_date)
