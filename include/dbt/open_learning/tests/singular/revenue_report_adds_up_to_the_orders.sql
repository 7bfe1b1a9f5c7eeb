-- What the report says was earned is what the orders of course runs earned, and net is gross less refunds in every row.
with reported as (
  select platform, sum(order_count) as order_count, sum(net_amount) as net_amount, count_if(net_amount <> gross_paid_amount - refunded_amount) as wrong
  from {{ ref('revenue_summary_report') }}
  group by platform
),

counted as (
  select platform, count(*) as order_count, sum(order_net_amount) as net_amount
  from {{ ref('tfact_order') }}
  where order_was_paid and courserun_readable_id is not null
  group by platform
)

select *
from reported
full outer join counted on counted.platform = reported.platform
where reported.order_count is distinct from counted.order_count or reported.net_amount is distinct from counted.net_amount or reported.wrong > 0
