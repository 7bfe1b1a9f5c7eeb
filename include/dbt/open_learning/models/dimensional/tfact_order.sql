-- One row per order, paid or not. Amounts are US dollars and count only for orders that were ever paid.
with orders as (
  {% for platform, model in [('mitxonline', ref('int__mitxonline__orders')), ('xpro', ref('int__mitxpro__orders'))] %}
  select
    '{{ platform }}' as platform,
    order_id,
    user_id,
    order_state,
    order_was_paid,
    order_is_fulfilled,
    order_is_refunded,
    order_paid_amount,
    order_refunded_amount,
    product_id,
    courserun_id,
    order_created_on,
    order_updated_on
  from {{ model }}
  {{ 'union all' if not loop.last }}
  {% endfor %}
)

select
  {{ surrogate_key(['orders.platform', 'orders.order_id']) }} as order_key,
  orders.platform,
  orders.order_id,
  orders.user_id,
  accounts.user_key,
  case when orders.product_id is not null then {{ surrogate_key(['orders.platform', 'orders.product_id']) }} end as product_key,
  case when orders.courserun_id is not null then {{ surrogate_key(['orders.platform', 'orders.courserun_id']) }} end as courserun_key,
  course_runs.courserun_readable_id,
  {{ date_key('orders.order_created_on') }} as order_date_key,
  orders.order_state,
  orders.order_was_paid,
  orders.order_is_fulfilled,
  orders.order_is_refunded,
  if(orders.order_was_paid, orders.order_paid_amount, 0) as order_gross_paid_amount,
  if(orders.order_was_paid, orders.order_refunded_amount, 0) as order_refunded_amount,
  if(orders.order_was_paid, orders.order_paid_amount - orders.order_refunded_amount, 0) as order_net_amount,
  orders.order_created_on,
  orders.order_updated_on
from orders
left join {{ ref('int__combined__course_runs') }} as course_runs on course_runs.platform = orders.platform and course_runs.courserun_id = orders.courserun_id
left join {{ ref('int__combined__user_accounts') }} as accounts
  on accounts.platform = orders.platform and accounts.account_is_application and accounts.account_id = orders.user_id
