-- One row per order. What was paid and given back is the sum of its transactions; an order that cost nothing has none.
with transactions as (
  select
    order_id,
    sum(case when transaction_type = 'payment' then transaction_amount else 0 end) as paid_amount,
    sum(case when transaction_type = 'refund' then transaction_amount else 0 end) as refunded_amount
  from {{ ref('stg__mitxonline__app__postgres__ecommerce_transaction') }}
  group by order_id
),

-- A run or program is one product; where an older product was retired, the newest stands for both.
products as (
  select contenttype_id, product_object_id, max(product_id) as product_id
  from {{ ref('stg__mitxonline__app__postgres__ecommerce_product') }}
  group by contenttype_id, product_object_id
)

select
  orders.order_id,
  orders.user_id,
  orders.order_state,
  orders.order_state in ('fulfilled', 'partially_refunded', 'refunded') as order_was_paid,
  orders.order_state in ('fulfilled', 'partially_refunded') as order_is_fulfilled,
  orders.order_state in ('partially_refunded', 'refunded') as order_is_refunded,
  coalesce(transactions.paid_amount, 0) as order_paid_amount,
  coalesce(transactions.refunded_amount, 0) as order_refunded_amount,
  products.product_id,
  case when content_types.contenttype_name = 'courses.courserun' then lines.product_object_id end as courserun_id,
  orders.order_created_on,
  orders.order_updated_on
from {{ ref('stg__mitxonline__app__postgres__ecommerce_order') }} as orders
left join {{ ref('stg__mitxonline__app__postgres__ecommerce_line') }} as lines on lines.order_id = orders.order_id
left join {{ ref('stg__mitxonline__app__postgres__django_content_type') }} as content_types on content_types.contenttype_id = lines.contenttype_id
left join products on products.contenttype_id = lines.contenttype_id and products.product_object_id = lines.product_object_id
left join transactions on transactions.order_id = orders.order_id
